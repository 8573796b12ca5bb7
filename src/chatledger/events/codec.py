"""Envelope to Kafka record and back: CloudEvents 1.0, binary content mode.

The context is in `ce_*` headers, the value is the event's own JSON, so that any tool can read a topic. Events of an
older schema version are lifted by the upcasters at the end of this file, one step at a time, when they are read.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from chatledger.errors import UndecodableRecord
from chatledger.events import EVENTS
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.envelope import Envelope

Headers = tuple[tuple[str, bytes], ...]
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

SCHEMA_PREFIX = "urn:chatledger:schema:"
SPEC_VERSION = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """An event as a record carries it: the key, the value and the headers, all bytes but the headers' names."""

    key: bytes
    value: bytes
    headers: Headers


UPCASTERS: dict[tuple[str, int], Upcaster] = {}
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


def from_wire(headers: Iterable[tuple[str, bytes]], value: bytes | None) -> Envelope:
    """Decode one record.

    Raises UndecodableRecord when it is not a CloudEvent of ours. An event of an unknown type is not an error: it
    comes back as UnknownEvent.
    """
    context = dict(headers)
    try:
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
            stream_version=None if version is None else int(version),
            correlation_id=context["ce_correlationid"].decode(),
            causation_id=None if causation is None else causation.decode(),
            traceparent=None if trace is None else trace.decode(),
            data=decode_data(type_name, int(schema.rpartition(":")[2]), value or b""),
        )
    except KeyError as missing:
        raise UndecodableRecord(f"header {missing.args[0]} is missing") from missing
    except ValueError as wrong:
        raise UndecodableRecord(f"a ce_* header is not readable: {wrong}") from wrong


def encode_data(event: Event) -> bytes:
    """Return the JSON of the event's own fields."""
    return orjson.dumps(event.data if isinstance(event, UnknownEvent) else event)


def decode_data(type_name: str, version: int, value: bytes) -> Event:
    """Turn a value of `type_name` at schema `version` into today's event class.

    Raises UndecodableRecord when the value does not fit its schema.
    """
    known = _ADAPTERS.get(type_name)
    try:
        if known is None or version > known[0].version:
            return UnknownEvent(type_name=type_name, schema_version=version, data=orjson.loads(value))
        event_class, adapter = known
        if version < event_class.version:
            value = orjson.dumps(upcast(type_name, version, event_class.version, orjson.loads(value)))
        return adapter.validate_json(value, strict=True)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "value"
        raise UndecodableRecord(f"{type_name} version {version}: {field}: {first['msg']}") from wrong
    except orjson.JSONDecodeError as wrong:
        raise UndecodableRecord(f"{type_name} version {version}: value is not JSON: {wrong}") from wrong


def upcast(type_name: str, version: int, target: int, data: dict[str, Any]) -> dict[str, Any]:
    """Lift `data` step by step from `version` to `target`.

    Raises UndecodableRecord when a step is missing.
    """
    for step in range(version, target):
        upcaster = UPCASTERS.get((type_name, step))
        if upcaster is None:
            raise UndecodableRecord(f"no upcaster for {type_name} version {step}")
        data = upcaster(data)
    return data


def type_and_version(event: Event) -> tuple[str, int]:
    """Return the type name and schema version that the wire and the ledger show."""
    if isinstance(event, UnknownEvent):
        return event.type_name, event.schema_version
    return event.type, event.version


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time with an offset; the result is in UTC.

    Raises ValueError when it has no offset.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time {text!r} has no offset")
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
