"""Rows to and from Postgres: a record as a line of COPY, a row as the record that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatledger.adapters.ledger_records import LedgerRecord

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


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """One row of `ledger.events`, as it was recorded."""

    position: int
    recorded_at: datetime
    record: LedgerRecord


def record_of_row(row: tuple[Any, ...]) -> RecordedRow:
    """Return one row of the queries that read history; `data` and `metadata` came as text."""
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
    return RecordedRow(position, _utc(recorded_at), record)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
