"""Envelope to Kafka record and back: CloudEvents 1.0, binary content mode.

The context is in `ce_*` headers, the value is the event's own JSON, so that any tool can read a topic. Events of an
older schema version are lifted by the upcasters in this file, one step at a time, when they are read.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from chatledger.errors import UndecodableRecord
from chatledger.events import EVENTS
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.envelope import Envelope

Headers = tuple[tuple[str, bytes], ...]
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

SCHEMA_PREFIX = "urn:chatledger:schema:"
SPEC_VERSION = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))
COUNT_MAX = 2**31 - 1
"""No stream or schema comes near it, and every store can hold it."""
YEAR_MIN, YEAR_MAX = 1970, 2999
"""Times beyond are garbage, and arithmetic on them would leave what a datetime can hold."""
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """An event as a record carries it: the key, the value and the headers, all bytes but the headers' names."""

    key: bytes
    value: bytes
    headers: Headers


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """The next version has further fields, whose defaults say what the older version meant."""
    return data


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("message.received", 1): _with_defaults,
    ("order.placed", 1): _with_defaults,
    ("order.cancelled", 1): _with_defaults,
    ("reply.requested", 1): _with_defaults,
    ("order.created", 1): _with_defaults,
    ("invoice.issued", 1): _with_defaults,
    ("message.sent", 1): _with_defaults,
    ("message.failed", 1): _with_defaults,
}
"""(type, version) to a function from that version's data to the next version's. Released events are never edited."""

_ADAPTERS: dict[str, tuple[type[Event], TypeAdapter[Event]]] = {
    event_class.type: (event_class, TypeAdapter(event_class)) for event_class in EVENTS
}
_SCHEMAS: dict[type[Event], bytes] = {
    event_class: f"{SCHEMA_PREFIX}{event_class.type}:{event_class.version}".encode() for event_class in EVENTS
}


def to_wire(envelope: Envelope) -> WireEvent:
    """Encode one envelope."""
    return WireEvent(key=envelope.conversation.encode(), value=encode_data(envelope.data), headers=_headers(envelope))


def from_wire(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> Envelope:
    """Decode one record.

    Raises UndecodableRecord when it is not a CloudEvent of ours. An event of an unknown type is not an error: it
    comes back as UnknownEvent.
    """
    context = {name: value for name, value in headers if value is not None}
    try:
        if any(b"\0" in header for header in context.values()):
            raise ValueError("it has a NUL character, which cannot be stored")
        schema = context["ce_dataschema"].decode()
        type_name = context["ce_type"].decode()
        version = context.get("ce_streamversion")
        causation, trace = context.get("ce_causationid"), context.get("ce_traceparent")
        return Envelope(
            id=context["ce_id"].decode(),
            source=context["ce_source"].decode(),
            conversation=context["ce_subject"].decode(),
            time=parse_time(context["ce_time"].decode()),
            stream=context["ce_stream"].decode(),
            stream_version=None if version is None else _count(version.decode()),
            correlation_id=context["ce_correlationid"].decode(),
            causation_id=None if causation is None else causation.decode(),
            traceparent=None if trace is None else trace.decode(),
            data=decode_data(type_name, _count(schema.rpartition(":")[2]), value or b""),
        )
    except KeyError as missing:
        raise UndecodableRecord(f"header {missing.args[0]} is missing") from missing
    except ValueError as wrong:
        raise UndecodableRecord(f"a ce_* header is not readable: {wrong}") from wrong


def encode_data(event: Event) -> bytes:
    """Return the JSON of the event's own fields."""
    data = event.data if isinstance(event, UnknownEvent) else event
    try:
        return orjson.dumps(data)
    except orjson.JSONEncodeError:
        # It refuses integers beyond 64 bits, which a stranger's record may have; pydantic takes them.
        return to_json(data)


def decode_data(type_name: str, version: int, value: bytes) -> Event:
    """Turn a value of `type_name` at schema `version` into today's event class.

    Raises UndecodableRecord when the value does not fit its schema.
    """
    known = _ADAPTERS.get(type_name)
    if b"\\u0000" in value and _NUL_ESCAPE.search(value):
        raise UndecodableRecord(f"{type_name} version {version}: value has a NUL character, which cannot be stored")
    try:
        if known is None or version > known[0].version:
            return UnknownEvent(type_name=type_name, schema_version=version, data=_object(value))
        event_class, adapter = known
        if version < event_class.version:
            value = to_json(upcast(type_name, version, event_class.version, _object(value)))
        # Straight to the validator: the adapter's own method costs a quarter more.
        event: Event = adapter.validator.validate_json(value, strict=True)
        return event
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "value"
        raise UndecodableRecord(f"{type_name} version {version}: {field}: {first['msg']}") from wrong


def decode_kept(type_name: str, version: int, value: bytes) -> Event:
    """Do the same for what was kept already: what does not fit its schema is an UnknownEvent, so that it can be shown.

    A database keeps JSON that no reader here takes, such as 300 brackets in each other: it is shown as text.
    """
    try:
        return decode_data(type_name, version, value)
    except UndecodableRecord:
        try:
            data = _object(value)
        except UndecodableRecord:
            data = {"unreadable": value.decode("utf-8", "backslashreplace")}
        return UnknownEvent(type_name=type_name, schema_version=version, data=data)


def refuse_newer_version(event: Event) -> None:
    """Raise UndecodableRecord for an event of a type that is known, at a schema version that is not.

    Who acts on that type must not pass over it: as a dead letter it can be put back once the service is as new.
    """
    if isinstance(event, UnknownEvent) and event.type_name in _ADAPTERS:
        raise UndecodableRecord(
            f"{event.type_name} has schema version {event.schema_version}, which is not known here: put it back once"
            " this service is as new as the one that wrote it"
        )


def upcast(type_name: str, version: int, target: int, data: dict[str, Any]) -> dict[str, Any]:
    """Lift `data` step by step from `version` to `target`.

    Raises UndecodableRecord when a step is missing, or when the data is not what its version says.
    """
    for step in range(version, target):
        upcaster = UPCASTERS.get((type_name, step))
        if upcaster is None:
            raise UndecodableRecord(f"no upcaster for {type_name} version {step}")
        try:
            data = upcaster(data)
        except (LookupError, TypeError, ValueError, AttributeError) as wrong:
            raise UndecodableRecord(f"{type_name} version {step}: cannot be lifted: {wrong!r}") from wrong
    return data


def is_known(type_name: str, version: int) -> bool:
    """Whether this code has a class for events of this type, at this schema version or a later one."""
    known = _ADAPTERS.get(type_name)
    return known is not None and version <= known[0].version


def type_and_version(event: Event) -> tuple[str, int]:
    """Return the type name and schema version that the wire and the ledger show."""
    if isinstance(event, UnknownEvent):
        return event.type_name, event.schema_version
    return event.type, event.version


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time with an offset; the result is in UTC.

    Raises ValueError when it has no offset, or is no time that can be meant.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time {text!r} has no offset")
    if not YEAR_MIN <= time.year <= YEAR_MAX:
        raise ValueError(f"time {text!r} is not in the years {YEAR_MIN} to {YEAR_MAX}")
    return time.astimezone(UTC)


def ledger_metadata(envelope: Envelope) -> Mapping[str, Any]:
    """Return what the ledger keeps of the envelope beside its columns."""
    return {
        "source": envelope.source,
        "conversation": envelope.conversation,
        "schemaversion": type_and_version(envelope.data)[1],
        "correlationid": envelope.correlation_id,
        "causationid": envelope.causation_id,
        "traceparent": envelope.traceparent,
    }


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= COUNT_MAX):
        raise ValueError(f"version {text[:40]!r} is not a number from 1 to {COUNT_MAX}")
    return int(text)


def _object(value: bytes) -> dict[str, Any]:
    """Read a JSON object of any shape. Unlike orjson this keeps integers beyond 64 bits."""
    try:
        data = from_json(value, allow_inf_nan=False)
    except ValueError as wrong:
        raise UndecodableRecord(f"value is not JSON: {wrong}") from wrong
    if not isinstance(data, dict):
        raise UndecodableRecord("value is not a JSON object")
    return data


def _headers(envelope: Envelope) -> Headers:
    event = envelope.data
    type_name, version = type_and_version(event)
    schema = _SCHEMAS.get(type(event)) or f"{SCHEMA_PREFIX}{type_name}:{version}".encode()
    headers = [
        *SPEC_VERSION,
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", type_name.encode()),
        ("ce_subject", envelope.conversation.encode()),
        ("ce_time", envelope.time.isoformat().encode()),
        ("ce_dataschema", schema),
        ("ce_stream", envelope.stream.encode()),
        ("ce_correlationid", envelope.correlation_id.encode()),
    ]
    if envelope.stream_version is not None:
        headers.append(("ce_streamversion", str(envelope.stream_version).encode()))
    if envelope.causation_id is not None:
        headers.append(("ce_causationid", envelope.causation_id.encode()))
    if envelope.traceparent is not None:
        headers.append(("ce_traceparent", envelope.traceparent.encode()))
    return tuple(headers)
