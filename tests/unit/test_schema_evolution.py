"""Events of the past and of the future: old versions are lifted, unknown ones are kept, shown and passed over."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger import topics
from chatledger.adapters.ledger_records import ledger_event, ledger_record, recorded, wire_of
from chatledger.adapters.ledger_rows import RecordedRow, row_line
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.conversation import evolve, initial
from chatledger.dead_letters import dead_letter
from chatledger.events import EVENTS, Envelope, UnknownEvent, dialog
from chatledger.events.codec import UPCASTERS, from_wire, is_known, to_wire, type_and_version
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import ConsumedRecord
from chatledger.replay import event_line, fold, kind_of, passed_over, read_event_line, said_of_passed_over
from chatledger_crm import handlers as crm
from chatledger_dialog.handlers import fold_batch
from chatledger_ledger.letters import original_record
from chatledger_notify import handlers as notify
from tests.support.dialog import message
from tests.support.ledger import history
from tests.unit.event_examples import EXAMPLES, GOLDEN, example_envelope, golden_sums
from tests.unit.projects_at_hand import EXAMPLE
from tests.unit.strategies import json_objects

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
FILES = sorted(GOLDEN.glob("*.json"))
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
CLASSES = {each.type: each for each in EVENTS}
strangers = st.builds(
    UnknownEvent,
    type_name=st.sampled_from(["moon.risen", *CLASSES]),
    schema_version=st.integers(90, 99),
    data=json_objects,
).map(lambda stranger: replace(example_envelope(EXAMPLES[dialog.AddressGiven]), data=stranger))


def golden_record(path: Path) -> ConsumedRecord:
    kept = orjson.loads(path.read_bytes())
    return ConsumedRecord(
        topic=topics.DIALOG,
        partition=0,
        offset=0,
        key=kept["key"].encode(),
        value=orjson.dumps(kept["value"]),
        headers=tuple((name, value.encode()) for name, value in kept["headers"].items()),
    )


def row_of(record: ConsumedRecord) -> RecordedRow:
    return RecordedRow(7, NOW, ledger_record(record))


def test_a_golden_file_is_never_edited_and_never_removed():
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES}
    assert found == golden_sums(), "restore the file: it stands for records that are in somebody's ledger"
    # A second list, so that a file cannot go with its line.
    assert set(found) == {path.name for path in SCHEMAS.glob("*.json")}


def test_every_step_between_versions_has_an_upcaster_and_nothing_else_has():
    assert set(UPCASTERS) == {(each.type, version) for each in EVENTS for version in range(1, each.version)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_record_of_any_version_is_lifted_by_whoever_reads_it(path):
    record = golden_record(path)
    expected = from_wire(record.headers, record.value)
    assert type(expected.data) is CLASSES[expected.data.type]
    ledger = MemoryLedger()
    await ledger.append([record])
    [event] = [event async for event in ledger.read()]
    assert event.envelope == expected
    assert read_event_line(row_line(row_of(record))).envelope == expected
    assert read_event_line(event_line(event)) == event
    key, value, headers = original_record(letter_of(record))
    assert (key, from_wire(headers, value)) == (record.key, expected)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_of_any_version_folds(path):
    record = golden_record(path)
    [state] = fold([from_wire(record.headers, record.value)]).values()
    assert state.version == 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_of_any_version_goes_back_to_a_topic_as_it_was(path):
    record = golden_record(path)
    wire = wire_of(ledger_record(record))
    assert (wire.key, orjson.loads(wire.value)) == (record.key, orjson.loads(record.value or b""))
    assert dict(wire.headers) == dict(record.headers)
    assert path.stem.endswith(".v" + dict(wire.headers)["ce_dataschema"].decode().rpartition(":")[2])


def letter_of(record: ConsumedRecord) -> RecordDeadLettered:
    letter = dead_letter(record, "it would not do", service="tests", incarnation="tests", now=NOW).data
    assert isinstance(letter, RecordDeadLettered)
    return letter


@given(strangers)
async def test_what_nobody_knows_is_kept_shown_and_goes_out_as_it_came(envelope: Envelope):
    record, ledger = recorded(envelope, topic=topics.DIALOG), MemoryLedger()
    await ledger.append([record])
    [event] = [event async for event in ledger.read()]
    assert event.envelope == envelope
    assert read_event_line(event_line(event)) == event
    assert read_event_line(row_line(row_of(record))).envelope == envelope
    assert not is_known(*type_and_version(envelope.data))
    wire = wire_of(ledger_record(record))
    assert (wire.key, wire.value, dict(wire.headers)) == (record.key, record.value, dict(record.headers))


@given(strangers)
def test_folds_pass_over_what_nobody_knows_and_count_it(envelope: Envelope):
    decided = [each for topic, each in history("77") if topic == topics.DIALOG]
    stranger = replace(
        envelope,
        conversation=decided[0].conversation,
        stream=decided[0].stream,
        stream_version=len(decided) + 1,
        causation_id=decided[-1].causation_id,
    )
    [before], [after] = fold(decided).values(), fold([*decided, stranger]).values()
    assert replace(after, version=before.version) == before
    assert passed_over([*decided, stranger]) == {kind_of(stranger): 1}


def test_what_was_passed_over_is_said_in_a_sentence():
    assert said_of_passed_over({}) == ""
    assert said_of_passed_over({"moon.risen.v3": 1}).startswith("1 event of an unknown type was passed over: moon")
    assert "2,001 events of unknown types were passed over: a.b.v2 (1), moon.risen.v3 (2,000)" in said_of_passed_over(
        {"moon.risen.v3": 2_000, "a.b.v2": 1}
    )


@pytest.mark.parametrize(
    "value",
    [
        b'{"address": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"address": ' + b"9" * 5000 + b"}",
        b'{"address": 5}',
    ],
    ids=["deep", "long", "wrong"],
)
@pytest.mark.parametrize("type_name", ["address.given", "moon.risen"])
def test_json_that_a_database_keeps_and_no_class_takes_makes_no_history_unreadable(value, type_name):
    good = recorded(example_envelope(EXAMPLES[dialog.AddressGiven]), topic=topics.DIALOG)
    headers = dict(good.headers) | {"ce_type": type_name.encode()}
    row = row_of(replace(good, headers=tuple(headers.items()), value=value))
    event = ledger_event(row.record, position=row.position, recorded_at=row.recorded_at)
    assert isinstance(event.envelope.data, UnknownEvent)
    assert read_event_line(event_line(event)) == event
    assert evolve(initial(), event.envelope).address is None
    assert wire_of(row.record).value == value


def newer(envelope: Envelope) -> ConsumedRecord:
    """The same event as a later schema version of it, with data that say it otherwise."""
    type_name, version = type_and_version(envelope.data)
    stranger = UnknownEvent(type_name=type_name, schema_version=version + 1, data={"all": "new"})
    wire = to_wire(replace(envelope, data=stranger))
    return ConsumedRecord(topic="any", partition=1, offset=3, key=wire.key, value=wire.value, headers=wire.headers)


def test_a_service_puts_a_newer_version_of_what_it_acts_on_aside_and_does_not_drop_it():
    ordered = example_envelope(next(event for each, event in EXAMPLES.items() if each.type == "order.created"))
    asked = example_envelope(EXAMPLES[dialog.ReplyRequested])
    said = SimpleNamespace(**asdict(newer(message("77", 0, "hi"))), timestamp=0.0)
    letters = [
        *notify.read_batch([newer(asked)], knows=lambda *_: True, incarnation="i", now=NOW).dead_letters,
        *crm.read_batch([newer(ordered)], projects={"order-form"}, incarnation="i", now=NOW).dead_letters,
        *(letter for _, letter in fold_batch([said], lambda _: None, {EXAMPLE.name: EXAMPLE}, incarnation="i").dead),
    ]
    assert [type(letter.data) for letter in letters] == [RecordDeadLettered] * 3
    for letter in letters:
        assert isinstance(letter.data, RecordDeadLettered)
        assert "which is not known here: put it back once this service is as new" in letter.data.reason
    nobody = crm.read_batch([newer(ordered)], projects={"another"}, incarnation="i", now=NOW)
    assert not nobody.dead_letters
