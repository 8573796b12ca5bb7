"""Rows to and from Postgres: a record as a line of COPY, a row as a recorded event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chatledger.adapters.ledger_records import LedgerRecord, ledger_event
from chatledger.ports import LedgerEvent

SEPARATOR = b"\x1f"
"""Between the fields of a line; the query `copy` names it too. Raw, it is not allowed in JSON."""


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


def event_of_row(row: tuple[Any, ...]) -> LedgerEvent:
    """Return the event of one row of the queries `read` and `read_stream`."""
    position, recorded_at, topic, partition, source_offset, event_id, stream, version, type_name, data, metadata, at = (
        row
    )
    record = LedgerRecord(
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
    return ledger_event(record, position=position, recorded_at=_utc(recorded_at))


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
