"""What every ledger keeps of a record, and how an event comes back from it. Shared by the Postgres and memory ledgers.

Only the headers are read here: the value goes in as it is, and is decoded by whoever reads it. What cannot be kept
as an event is kept as the dead letter that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import orjson

from chatledger.dead_letters import dead_letter
from chatledger.errors import UndecodableRecord
from chatledger.events.codec import SCHEMA_PREFIX, SPEC_VERSION, WireEvent, decode_kept, parse_time, to_wire
from chatledger.events.envelope import Envelope
from chatledger.ports import ConsumedRecord, LedgerEvent
from chatledger.topics import DEAD

SERVICE = "ledger"
NAME_BYTES_MAX = 1_000
"""A stream is a key of an index, and Postgres refuses keys beyond 2.7 kB; ours have less than 200 bytes."""
REMEMBERED_MAX = 1_000
"""What was decided together has one time, and versions are small numbers: so many of each are not read again."""

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FORBIDDEN = re.compile(rb"[\0\x1f]")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class LedgerRecord(NamedTuple):
    """A row before it has a position. `data` and `metadata` are JSON. A tuple, because a replay makes millions."""

    id: str
    stream: str
    version: int | None
    type: str
    data: bytes
    metadata: bytes
    occurred_at: datetime
    topic: str
    partition: int
    source_offset: int


def ledger_record(record: ConsumedRecord) -> LedgerRecord:
    """Return the row of a record. Raises UndecodableRecord when its headers are not those of an event."""
    # A header may be there without a value: then it counts as missing.
    headers: Iterable[tuple[str, bytes | None]] = record.headers
    context = {name: value for name, value in headers if value is not None}
    try:
        version = context.get("ce_streamversion")
        causation, trace = context.get("ce_causationid"), context.get("ce_traceparent")
        event_id, stream = context["ce_id"], context["ce_stream"]
        metadata = {
            "source": context["ce_source"].decode(),
            "conversation": context["ce_subject"].decode(),
            "schemaversion": _count(context["ce_dataschema"].rpartition(b":")[2]),
            "correlationid": context["ce_correlationid"].decode(),
            "causationid": None if causation is None else causation.decode(),
            "traceparent": None if trace is None else trace.decode(),
        }
        kept = LedgerRecord(
            event_id.decode(),
            stream.decode(),
            None if version is None else _count(version),
            context["ce_type"].decode(),
            jsonb_text(record.value or b""),
            orjson.dumps(metadata),
            _time(context["ce_time"]),
            record.topic,
            record.partition,
            record.offset,
        )
    except KeyError as missing:
        raise UndecodableRecord(f"header {missing.args[0]} is missing") from missing
    except (ValueError, OverflowError) as wrong:
        raise UndecodableRecord(f"a ce_* header is not readable: {wrong}") from wrong
    if not _UUID.fullmatch(event_id):
        raise UndecodableRecord("ce_id is not a UUID in its usual form")
    if not 0 < len(stream) <= NAME_BYTES_MAX or not kept.type:
        raise UndecodableRecord(f"ce_stream or ce_type is empty, or longer than {NAME_BYTES_MAX} bytes")
    if _FORBIDDEN.search(stream + context["ce_type"]) or rb"\u0000" in kept.metadata:
        raise UndecodableRecord("a ce_* header holds a control character that Postgres cannot keep")
    if not kept.data.lstrip().startswith(b"{"):
        raise UndecodableRecord("the value is not a JSON object")
    return kept


def dead_letter_record(record: ConsumedRecord, reason: str, *, incarnation: str, now: datetime) -> LedgerRecord:
    """Return the row that stands for a record which cannot be kept as an event: a `record.dead_lettered`, whole."""
    letter = dead_letter(record, reason, service=SERVICE, incarnation=incarnation, now=now, value_bytes_max=None)
    return ledger_record(recorded(letter, topic=DEAD, partition=record.partition, offset=record.offset))


def recorded(envelope: Envelope, *, topic: str, partition: int = 0, offset: int = 0) -> ConsumedRecord:
    """Return the record that carries `envelope`, as it would be read from a topic."""
    wire: WireEvent = to_wire(envelope)
    return ConsumedRecord(
        topic=topic, partition=partition, offset=offset, key=wire.key, value=wire.value, headers=wire.headers
    )


def wire_of(record: LedgerRecord) -> WireEvent:
    """Return the record that carries what was kept, word for word: no event is decoded, none lifted.

    The value is jsonb's writing of the JSON that came, so spaces and the order of keys may differ from it.
    """
    metadata = orjson.loads(record.metadata)
    headers = [
        *SPEC_VERSION,
        ("ce_id", record.id.encode()),
        ("ce_source", metadata["source"].encode()),
        ("ce_type", record.type.encode()),
        ("ce_subject", metadata["conversation"].encode()),
        ("ce_time", record.occurred_at.isoformat().encode()),
        ("ce_dataschema", f"{SCHEMA_PREFIX}{record.type}:{metadata['schemaversion']}".encode()),
        ("ce_stream", record.stream.encode()),
        ("ce_correlationid", metadata["correlationid"].encode()),
    ]
    if record.version is not None:
        headers.append(("ce_streamversion", b"%d" % record.version))
    for name in ("causationid", "traceparent"):
        if metadata[name] is not None:
            headers.append((f"ce_{name}", metadata[name].encode()))
    return WireEvent(key=metadata["conversation"].encode(), value=record.data, headers=tuple(headers))


def ledger_event(record: LedgerRecord, *, position: int, recorded_at: datetime) -> LedgerEvent:
    """Return the event that was kept, its data lifted to today's class.

    Data that does not fit its schema comes back as UnknownEvent: it is kept and shown, and folds pass over it.
    """
    metadata = orjson.loads(record.metadata)
    return LedgerEvent(
        position=position,
        recorded_at=recorded_at,
        topic=record.topic,
        partition=record.partition,
        source_offset=record.source_offset,
        envelope=Envelope(
            id=record.id,
            source=metadata["source"],
            conversation=metadata["conversation"],
            time=record.occurred_at,
            stream=record.stream,
            stream_version=record.version,
            correlation_id=metadata["correlationid"],
            causation_id=metadata["causationid"],
            traceparent=metadata["traceparent"],
            data=decode_kept(record.type, metadata["schemaversion"], record.data),
        ),
    )


def jsonb_text(value: bytes) -> bytes:
    """Return `value` with each escaped NUL character, which jsonb cannot hold, replaced by U+FFFD."""
    return _NUL.sub(rb"\1\\ufffd", value) if rb"\u0000" in value else value


@lru_cache(REMEMBERED_MAX)
def _time(text: bytes) -> datetime:
    return parse_time(text.decode())


@lru_cache(REMEMBERED_MAX)
def _count(text: bytes) -> int:
    number = int(text)
    if not 0 < number < 2**31:
        raise ValueError(f"{number} is not a version")
    return number
