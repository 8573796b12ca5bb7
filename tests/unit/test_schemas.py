"""schemas/: what is committed is what the classes say, and a change that would break recorded events is caught."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from hypothesis import given

from chatledger import topics
from chatledger.events import EVENTS, Event, cart, dialog, orders
from chatledger.events.base import personal_fields
from chatledger.events.codec import UPCASTERS, encode_data, to_wire
from chatledger_cli.schema_changes import breaking_changes
from chatledger_cli.schemas import (
    ASYNCAPI,
    FAMILIES,
    PURPOSES,
    asyncapi,
    broken_promises,
    event_schema,
    file_name,
    generated_files,
    main,
    stale_files,
)
from tests.unit.event_examples import EXAMPLES, GOLDEN, example_envelope
from tests.unit.strategies import all_events

FOLDER = Path(__file__).resolve().parents[2] / "schemas"
Schema = dict[str, Any]
CLASSES_INSIDE = {
    each.__name__: each
    for each in (
        cart.RefusedLine,
        dialog.MessageTemplate,
        orders.Discount,
        orders.InvoiceDocument,
        orders.OrderLine,
        orders.Tax,
    )
}
VALIDATORS = {
    each: jsonschema.Draft202012Validator(
        event_schema(each), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for each in EVENTS
}


def committed() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_what_is_committed_is_what_the_classes_say() -> None:
    assert not list(broken_promises(committed(), generated_files(), UPCASTERS))
    assert not list(stale_files(committed(), generated_files()))


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda each: each.type)
def test_each_schema_says_what_it_is_for_and_what_is_personal(event_class: type[Event]) -> None:
    schema = event_schema(event_class)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:chatledger:schema:{event_class.type}:{event_class.version}"
    assert (schema["title"], schema["description"]) == (event_class.type, inspect.getdoc(event_class))
    assert personal_in(schema) == personal_fields(event_class)
    for name, inner in schema.get("$defs", {}).items():
        assert personal_in(inner) == personal_fields(CLASSES_INSIDE[name])


def personal_in(schema: Schema) -> set[str]:
    """Names of the properties that are marked, or one of whose choices is."""
    return {
        name
        for name, field in schema.get("properties", {}).items()
        if any(choice.get("x-personal") for choice in (field, *field.get("anyOf", [])))
    }


@given(all_events)
def test_every_event_validates_against_its_schema(event: Event) -> None:
    VALIDATORS[type(event)].validate(orjson.loads(encode_data(event)))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_golden_record_validates_against_the_committed_schema(path: Path) -> None:
    schema = orjson.loads((FOLDER / path.name).read_bytes())
    jsonschema.validate(orjson.loads(path.read_bytes())["value"], schema)


def test_a_wrong_value_does_not_validate() -> None:
    validator = VALIDATORS[type(EXAMPLES[EVENTS[0]])]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"text": 5})


def _remove_field(schema: Schema) -> None:
    del schema["properties"]["address"]
    schema["required"].remove("address")


def _retype(name: str, **field: Any) -> Callable[[Schema], None]:
    def change(schema: Schema) -> None:
        schema["properties"][name] = field

    return change


def _require_new(schema: Schema) -> None:
    schema["properties"]["colour"] = {"type": "string"}
    schema["required"].append("colour")


def _line(change: Callable[[Schema], None]) -> Callable[[Schema], None]:
    return lambda schema: change(schema["$defs"]["OrderLine"])


def _drop_nothing(schema: Schema) -> None:
    schema["properties"]["note"] = {"type": "string", "default": ""}
    schema["description"] = "In better words."
    schema["properties"]["address"]["title"] = "Where to"
    schema["properties"]["phone"]["x-personal"] = False


def _widen(schema: Schema) -> None:
    schema["properties"]["address"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema["$defs"]["OrderLine"]["properties"]["quantity"] = {"type": "number"}
    schema["required"].remove("phone")


BREAKING: list[tuple[str, Callable[[Schema], None]]] = [
    ("value.address was removed", _remove_field),
    ("value.colour was made required", _require_new),
    ("value.address changed its type from string to integer", _retype("address", type="integer")),
    ("value.address may no longer be string", _retype("address", anyOf=[{"type": "integer"}, {"type": "null"}])),
    ("value.currency may no longer be null", _retype("currency", type="string")),
    ("value.phone has a tighter maxLength", _retype("phone", type="string", maxLength=10)),
    ("value.phone has a tighter minLength", _retype("phone", type="string", minLength=1)),
    ("value.phone now has pattern '[+]'", _retype("phone", type="string", pattern="[+]")),
    ("value.phone now has format 'date'", _retype("phone", type="string", format="date")),
    ("value.order_id allows fewer values", _retype("order_id", type="string", enum=["1", "2"])),
    ("value.order_id now has const '1'", _retype("order_id", type="string", const="1")),
    ("value.lines changed its type from array to object", _retype("lines", type="object")),
    ("value.lines[] changed its type", _retype("lines", type="array", items={"type": "string"})),
    ("value.lines[].quantity was made required", _line(lambda line: line["required"].append("quantity"))),
    ("value.lines[].name changed its type", _line(_retype("name", type="integer"))),
    ("value takes fewer further fields", lambda schema: schema.update(additionalProperties=False)),
]


@pytest.mark.parametrize(("complaint", "change"), BREAKING, ids=[complaint for complaint, _ in BREAKING])
def test_a_breaking_change_of_a_committed_version_is_caught(complaint: str, change: Callable[[Schema], None]) -> None:
    before = orjson.loads((FOLDER / "order.placed.v1.json").read_bytes())
    if "made required" in complaint:
        before["$defs"]["OrderLine"]["required"].remove("quantity")
    after = copy.deepcopy(before)
    change(after)
    assert any(each.startswith(complaint) for each in breaking_changes(before, after))
    old, new = ({"order.placed.v1.json": orjson.dumps(each)} for each in (before, after))
    assert any("raise the version and write an upcaster" in each for each in broken_promises(old, new, {}))


@pytest.mark.parametrize("change", [_drop_nothing, _widen])
def test_a_harmless_change_is_only_stale(change: Callable[[Schema], None]) -> None:
    before = orjson.loads((FOLDER / "order.placed.v1.json").read_bytes())
    after = copy.deepcopy(before)
    change(after)
    old, new = ({"order.placed.v1.json": orjson.dumps(each)} for each in (before, after))
    assert not list(broken_promises(old, new, {}))
    assert list(stale_files(old, new)) == ["order.placed.v1.json: differs: run make schemas"]


def test_a_new_version_needs_an_upcaster_and_the_old_schema_stays() -> None:
    old, new = {"phone.given.v1.json": b"{}"}, {"phone.given.v2.json": b"{}"}
    [complaint] = broken_promises(old, new, {})
    assert complaint.startswith("phone.given.v1.json: write an upcaster from version 1 of phone.given")
    assert not list(broken_promises(old, new, {("phone.given", 1): dict}))
    assert list(stale_files(old, new)) == ["phone.given.v2.json: is missing: run make schemas"]


@pytest.mark.parametrize("name", ["phone.taken.v1.json", "phone.given.v3.json"])
def test_an_event_type_does_not_go_away(name: str) -> None:
    [complaint] = broken_promises({name: b"{}"}, {"phone.given.v2.json": b"{}"}, {})
    assert complaint.startswith(f"{name}: no event class has this type and version any more")


def test_the_command_writes_checks_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path / "schemas")]
    assert main(["--check", *folder]) == 1
    assert "address.given.v1.json: is missing: run make schemas" in capsys.readouterr().err
    assert main(folder) == 0
    assert main(["--write", *folder]) == 0
    assert main(["--check", *folder]) == 0
    changed = tmp_path / "schemas" / "phone.given.v1.json"
    changed.write_bytes(changed.read_bytes().replace(b'"phone"', b'"number"'))
    capsys.readouterr()
    for arguments in (["--check", *folder], folder):
        assert main(arguments) == 1
        complaints = capsys.readouterr().err
        assert "value.number was removed: raise the version and write an upcaster" in complaints
    assert b'"number"' in changed.read_bytes()


def test_every_event_is_on_a_topic_and_every_topic_is_described() -> None:
    assert tuple(FAMILIES) == tuple(PURPOSES) == topics.ALL
    assert {each for family in FAMILIES.values() for each in family} == set(EVENTS)
    on_several = [each for each in EVENTS if sum(each in family for family in FAMILIES.values()) > 1]
    assert on_several == [dialog.OrderCancelled], "before an order was placed the dialog cancels, afterwards billing"


def test_the_asyncapi_document_says_who_writes_what() -> None:
    written: dict[str, set[str]] = {}
    for name, operation in asyncapi()["operations"].items():
        assert operation["action"] == "send"
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"])
            written.setdefault(name.split()[0], set()).add(message["$ref"].rpartition("/")[2])
    letter = {"record.dead_lettered"}
    assert written["ingress"] == {"message.received", "webhook.noted", "delivery.reported"}
    assert written["crm"] == {"inventory.updated", "order.synced", "order.not_synced"} | letter
    assert {"order.reported", "invoice.reported", "order.cancelled", "invoice.issued"} <= written["billing"]
    assert {"notice.due", "campaign.created"} <= written["outreach"]
    assert written["dialog"].isdisjoint(written["billing"] - {"order.cancelled"} - letter)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load((FOLDER / ASYNCAPI).read_text("utf-8"))
    assert document == asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == set(topics.ALL)

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            inner = [reference for value in node.values() for reference in references(value)]
            return [*inner, node["$ref"]] if "$ref" in node else inner
        return [reference for each in node for reference in references(each)] if isinstance(node, list) else []

    for reference in references(document):
        if reference.startswith("./"):
            assert (FOLDER / reference).is_file()
            continue
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_the_headers_of_a_record_are_those_of_the_asyncapi_document() -> None:
    schema = asyncapi()["components"]["schemas"]["CloudEventHeaders"]
    for event_class in EVENTS:
        headers = {name: value.decode() for name, value in to_wire(example_envelope(EXAMPLES[event_class])).headers}
        jsonschema.validate(headers, schema)
        assert headers.keys() == schema["properties"].keys()
    assert {file_name(each) for each in EVENTS} <= generated_files().keys()
