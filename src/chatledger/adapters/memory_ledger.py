"""The port Ledger in memory: everything that the Postgres ledger does, for tests and for trying things out.

It keeps rows as Postgres does and decodes them when they are read. It is gone with its process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_records import LedgerRecord, dead_letter_record, ledger_event, ledger_record
from chatledger.errors import UndecodableRecord
from chatledger.ports import (
    EVERYTHING,
    Appended,
    Clock,
    ConsumedRecord,
    LedgerEvent,
    Positions,
    Selection,
    TopicPartition,
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A row with the time of its recording; its position is its place in the list, from 1."""

    record: LedgerRecord
    recorded_at: datetime


class MemoryLedger:
    """The ports Ledger and PositionStore, in a list."""

    def __init__(self, *, incarnation: str = "memory", clock: Clock | None = None) -> None:
        self._incarnation = incarnation
        self._clock = clock or SystemClock()
        self._kept: list[_Kept] = []
        self._ids: set[str] = set()
        self._places: set[tuple[str, int | None]] = set()
        self._positions: dict[TopicPartition, int] = {}

    async def append(self, records: Sequence[ConsumedRecord]) -> Appended:
        """Record a batch and its positions. What is there already is left alone."""
        before, now = len(self._kept), self._clock.now()
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            if record.offset >= self._positions.get(partition, 0):
                self._positions[partition] = record.offset + 1
                self._add(record, now)
        recorded = len(self._kept) - before
        return Appended(recorded=recorded, duplicates=len(records) - recorded)

    async def read(self, selection: Selection = EVERYTHING) -> AsyncIterator[LedgerEvent]:
        """Yield the recorded events that are selected, in the order of positions, lifted to today's classes."""
        for position, kept in enumerate(self._kept, start=1):
            event = ledger_event(kept.record, position=position, recorded_at=kept.recorded_at)
            if selection.includes(event):
                yield event

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions`."""
        return {partition: self._positions[partition] for partition in partitions if partition in self._positions}

    def _add(self, record: ConsumedRecord, now: datetime) -> None:
        kept = self._row(record, now)
        if kept.id in self._ids:
            return
        if kept.version is not None and (kept.stream, kept.version) in self._places:
            reason = f"stream {kept.stream} has a version {kept.version} already, of another event"
            kept = dead_letter_record(record, reason, incarnation=self._incarnation, now=now)
        self._ids.add(kept.id)
        self._places.add((kept.stream, kept.version))
        self._kept.append(_Kept(kept, now))

    def _row(self, record: ConsumedRecord, now: datetime) -> LedgerRecord:
        try:
            kept = ledger_record(record)
            orjson.loads(kept.data)
        except UndecodableRecord as wrong:
            return dead_letter_record(record, str(wrong), incarnation=self._incarnation, now=now)
        except orjson.JSONDecodeError as wrong:
            return dead_letter_record(record, f"the value is not JSON: {wrong}", incarnation=self._incarnation, now=now)
        return kept
