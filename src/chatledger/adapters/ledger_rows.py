"""Rows to and from Postgres: a record as a line of COPY, a row as the record that it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from chatledger.adapters.ledger_records import LedgerRecord
from chatledger.events.codec import decode_kept
from chatledger.events.envelope import Envelope
from chatledger.ports import LedgerEvent

SEPARATOR = b"\x1f"
"""Between the fields of a line; the query `copy` names it too. Raw, it is not allowed in JSON."""

_new = tuple.__new__
"""Makes a named tuple in two thirds of the time that its own constructor, which is Python, takes."""


def copy_line(record: LedgerRecord) -> bytes:
    """Return the line that COPY takes for this record, in the order of the query's columns."""
    line = SEPARATOR.join(
        (
            record.id.encode(),
            record.stream.encode(),
            b"" if record.version is None else b"%d" % record.version,
            record.type.encode(),
            record.data,
            record.metadata,
            record.occurred_at.isoformat().encode(),
            record.topic.encode(),
            b"%d" % record.partition,
            b"%d" % record.source_offset,
        )
    )
    # A backslash begins an escape, and JSON may have line ends between its values.
    return line.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r") + b"\n"


class RecordedRow(NamedTuple):
    """One row of `ledger.events`, as it was recorded. A tuple, because a replay makes millions of them."""

    position: int
    recorded_at: datetime
    record: LedgerRecord


def row_line(row: RecordedRow) -> bytes:
    """Return one row as a line of NDJSON, without the line end: as `replay.event_line` has it, but nothing lifted."""
    record = row.record
    columns = {
        "position": row.position,
        "id": record.id,
        "stream": record.stream,
        "version": record.version,
        "type": record.type,
        "data": orjson.Fragment(record.data),
        "metadata": orjson.Fragment(record.metadata),
        "occurred_at": record.occurred_at,
        "recorded_at": row.recorded_at,
        "topic": record.topic,
        "partition": record.partition,
        "source_offset": record.source_offset,
    }
    return orjson.dumps(columns, option=orjson.OPT_UTC_Z)


def record_of_row(row: tuple[Any, ...]) -> RecordedRow:
    """Return one row of the queries that read history; `data` and `metadata` came as text."""
    position, recorded_at, topic, partition, source_offset, event_id, stream, version, type_name, data, metadata, at = (
        row
    )
    fields = (
        event_id,
        stream,
        version,
        type_name,
        data.encode(),
        metadata.encode(),
        _utc(at),
        topic,
        partition,
        source_offset,
    )
    return _new(RecordedRow, (position, _utc(recorded_at), _new(LedgerRecord, fields)))


def event_of_row(row: tuple[Any, ...]) -> LedgerEvent:
    """Return the event of one row of these queries, lifted to today's class: `ledger_event` without the way round."""
    position, recorded_at, topic, partition, source_offset, event_id, stream, version, type_name, data, metadata, at = (
        row
    )
    context = orjson.loads(metadata)
    return LedgerEvent(
        position=position,
        recorded_at=_utc(recorded_at),
        topic=topic,
        partition=partition,
        source_offset=source_offset,
        envelope=Envelope(
            id=event_id,
            source=context["source"],
            conversation=context["conversation"],
            time=_utc(at),
            stream=stream,
            stream_version=version,
            correlation_id=context["correlationid"],
            causation_id=context["causationid"],
            traceparent=context["traceparent"],
            data=decode_kept(type_name, context["schemaversion"], data.encode()),
        ),
    )


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo is UTC else time.astimezone(UTC)
