"""The codec: what goes out comes back, what is unknown is kept, and what is garbage is named so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chatledger.errors import UndecodableRecord
from chatledger.events import EVENTS, Envelope, Event, UnknownEvent, codec, dialog, inbound
from chatledger.events.codec import from_wire, ledger_metadata, to_wire
from tests.unit.event_examples import EXAMPLES, example_envelope
from tests.unit.strategies import envelopes, events_of, json_objects, texts

WIRE = to_wire(example_envelope(EXAMPLES[dialog.AddressGiven]))
HEADER_NAMES = [name for name, _ in WIRE.headers]
REQUIRED = ("id", "source", "type", "subject", "time", "dataschema", "stream", "correlationid")


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda each: each.type)
def test_every_event_comes_back_as_it_was(event_class: type[Event]) -> None:
    @given(envelopes(events_of(event_class)))
    def round_trip(envelope: Envelope) -> None:
        wire = to_wire(envelope)
        back = from_wire(wire.headers, wire.value)
        assert back == envelope
        assert to_wire(back).value == wire.value
        assert wire.key.decode() == envelope.conversation

    round_trip()


@given(envelopes(st.builds(UnknownEvent, type_name=texts, schema_version=st.integers(1, 99), data=json_objects)))
def test_an_event_of_an_unknown_type_is_kept_and_goes_out_as_it_came(envelope: Envelope) -> None:
    wire = to_wire(envelope)
    back = from_wire(wire.headers, wire.value)
    assert back == envelope
    again = to_wire(back)
    assert again.value == wire.value
    assert dict(again.headers) == dict(wire.headers) | {"ce_time": dict(again.headers)["ce_time"]}


@given(envelopes(events_of(dialog.AddressGiven)), st.integers(2, 50))
def test_an_event_of_a_newer_version_is_kept_and_goes_out_as_it_came(envelope: Envelope, version: int) -> None:
    wire = to_wire(envelope)
    newer = with_header("ce_dataschema", f"urn:chatledger:schema:address.given:{version}".encode(), wire.headers)
    back = from_wire(newer, b'{"address": {"street": "12 Baker Street", "floor": 3}}')
    assert back.data == UnknownEvent(
        type_name="address.given",
        schema_version=version,
        data={"address": {"street": "12 Baker Street", "floor": 3}},
    )
    again = to_wire(back)
    assert dict(again.headers) == dict(newer) | {"ce_time": dict(again.headers)["ce_time"]}
    assert orjson.loads(again.value) == {"address": {"street": "12 Baker Street", "floor": 3}}
    assert ledger_metadata(back)["schemaversion"] == version


@given(
    st.lists(
        st.tuples(st.sampled_from(HEADER_NAMES) | st.text(max_size=5), st.none() | st.binary(max_size=12)), max_size=16
    ),
    st.none() | st.binary(max_size=40) | json_objects.map(lambda data: repr(data).encode()),
)
def test_garbage_is_undecodable_and_nothing_else(headers: list[tuple[str, bytes | None]], value: bytes | None) -> None:
    with pytest.raises(UndecodableRecord):
        from_wire(headers, value)


@given(
    st.sampled_from(HEADER_NAMES),
    st.none() | st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode(errors="replace")),
)
def test_one_garbled_header_is_undecodable_or_still_an_event_that_can_go_out(name: str, value: bytes | None) -> None:
    try:
        envelope = from_wire(with_header(name, value), WIRE.value)
    except UndecodableRecord:
        return
    to_wire(envelope)


@given(envelopes(), st.binary(max_size=3), st.integers(0, 400), st.integers(0, 5))
def test_a_damaged_value_is_undecodable_or_still_an_event_that_can_go_out(
    envelope: Envelope, inserted: bytes, at: int, removed: int
) -> None:
    wire = to_wire(envelope)
    try:
        damaged = from_wire(wire.headers, wire.value[:at] + inserted + wire.value[at + removed :])
    except UndecodableRecord:
        return
    to_wire(damaged)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_header_is_named(name: str) -> None:
    without = [(each, value) for each, value in WIRE.headers if each != f"ce_{name}"]
    with pytest.raises(UndecodableRecord, match=f"header ce_{name} is missing"):
        from_wire(without, WIRE.value)
    with pytest.raises(UndecodableRecord, match=f"header ce_{name} is missing"):
        from_wire(with_header(f"ce_{name}", None), WIRE.value)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_time", b"2026-01-05T10:30:15"),
        ("ce_time", b"0001-01-01T00:00:00+14:00"),
        ("ce_time", b"9999-12-31T23:59:59Z"),
        ("ce_time", b"yesterday"),
        ("ce_streamversion", b"0"),
        ("ce_streamversion", b"-1"),
        ("ce_streamversion", b"99999999999999999999"),
        ("ce_dataschema", b"urn:chatledger:schema:address.given"),
        ("ce_dataschema", b"urn:chatledger:schema:address.given:0"),
        ("ce_subject", b"order-form/chat2desk/\xff"),
        ("ce_subject", b"order-form/chat2desk/\x00"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(header: str, value: bytes) -> None:
    with pytest.raises(UndecodableRecord):
        from_wire(with_header(header, value), WIRE.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[]",
        b"null",
        b'{"address": 5}',
        b'{"address": null}',
        b"{}",
        b'{"address": "12 Baker',
        b'{"address": "\xff"}',
        b'{"address": "\\ud800"}',
        b'{"address": "a\\u0000b"}',
        b'{"address": "a", "more": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=range(12),
)
@pytest.mark.parametrize("type_name", ["address.given", "address.unheard_of"])
def test_a_value_that_does_not_fit_is_refused(value: bytes | None, type_name: str) -> None:
    unknown_object = type_name == "address.unheard_of" and value in (
        b"{}",
        b'{"address": 5}',
        b'{"address": null}',
    )
    headers = with_header("ce_type", type_name.encode())
    if unknown_object:
        assert isinstance(from_wire(headers, value).data, UnknownEvent)
        return
    with pytest.raises(UndecodableRecord):
        from_wire(headers, value)


def test_an_escaped_backslash_before_u0000_is_only_text() -> None:
    text = "c:\\u0000"
    envelope = example_envelope(dialog.AddressGiven(address=text))
    wire = to_wire(envelope)
    assert from_wire(wire.headers, wire.value).data == dialog.AddressGiven(address=text)


def test_a_time_without_offset_inside_a_value_is_refused() -> None:
    headers = to_wire(example_envelope(EXAMPLES[dialog.TimerRequested])).headers
    with pytest.raises(UndecodableRecord, match="due"):
        from_wire(headers, b'{"kind": "expiry", "due": "2026-01-05T10:30:15"}')


def test_new_fields_of_a_known_version_are_passed_over() -> None:
    assert from_wire(WIRE.headers, b'{"address": "12 Baker Street", "floor": 3}').data == EXAMPLES[dialog.AddressGiven]


def test_the_time_comes_back_in_utc() -> None:
    decoded = from_wire(with_header("ce_time", b"2026-01-05T16:00:00+05:30"), WIRE.value)
    assert decoded.time == datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
    assert decoded.time.utcoffset() == timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelWeighed(Event):
    """An event class in its third version, with its history of upcasters."""

    type: ClassVar[str] = "parcel.weighed"
    version: ClassVar[int] = 3

    weight_grams: int
    scale: str


@pytest.fixture
def _parcels(monkeypatch: pytest.MonkeyPatch) -> None:
    # The codec makes this table from EVENTS when it is imported; there is no door to add to it later.
    monkeypatch.setitem(codec._ADAPTERS, ParcelWeighed.type, (ParcelWeighed, TypeAdapter(ParcelWeighed)))
    monkeypatch.setitem(codec.UPCASTERS, ("parcel.weighed", 1), lambda data: {"kilograms": data["weight"]})
    monkeypatch.setitem(
        codec.UPCASTERS,
        ("parcel.weighed", 2),
        lambda data: {"weight_grams": data["kilograms"] * 1000, "scale": "unknown"},
    )


@pytest.mark.usefixtures("_parcels")
@pytest.mark.parametrize(
    ("version", "value"),
    [
        (1, b'{"weight": 2}'),
        (2, b'{"kilograms": 2}'),
        (3, b'{"weight_grams": 2000, "scale": "unknown"}'),
    ],
)
def test_old_versions_are_lifted_step_by_step(version: int, value: bytes) -> None:
    assert codec.decode_data("parcel.weighed", version, value) == ParcelWeighed(weight_grams=2000, scale="unknown")


@pytest.mark.usefixtures("_parcels")
@pytest.mark.parametrize("value", [b"{}", b"[1]", b"7", b'{"weight": null}', b'{"weight": "x"}', b'{"weight": {}}'])
def test_an_old_version_that_is_not_what_it_says_is_undecodable(value: bytes) -> None:
    headers = with_header("ce_dataschema", b"urn:chatledger:schema:parcel.weighed:1")
    with pytest.raises(UndecodableRecord, match=r"parcel.weighed|value"):
        from_wire([*headers, ("ce_type", b"parcel.weighed")], value)


@pytest.mark.usefixtures("_parcels")
def test_a_missing_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(codec.UPCASTERS, ("parcel.weighed", 2))
    with pytest.raises(UndecodableRecord, match=r"no upcaster for parcel\.weighed version 2"):
        codec.decode_data("parcel.weighed", 1, b'{"weight": 2}')


def with_header(
    name: str, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = WIRE.headers
) -> list[tuple[str, bytes | None]]:
    return [(each, value if each == name else old) for each, old in headers]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_number_beyond_64_bits_is_refused_where_it_counts_and_kept_where_it_is_a_strangers(number: int) -> None:
    with pytest.raises(UndecodableRecord, match="quantity"):
        codec.decode_data("quantity.given", 1, b'{"quantity": %d}' % number)
    received = orjson.loads(codec.encode_data(EXAMPLES[inbound.MessageReceived]))
    value = orjson.dumps(received | {"raw": {"id": "here"}}).replace(b'"here"', b"%d" % number)
    decoded = codec.decode_data("message.received", 1, value)
    assert isinstance(decoded, inbound.MessageReceived)
    assert decoded.raw == {"id": number}
    assert b"%d" % number in codec.encode_data(decoded)
