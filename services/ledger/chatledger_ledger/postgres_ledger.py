"""The port Ledger on Postgres: appends in one transaction, straight by COPY, and with care where that is refused.

A batch of new events, the usual case, is one COPY into the table. When Postgres refuses a row, the transaction is
rolled back and the batch is taken up again with care: what is there already is looked up and left out, and what cannot
be kept becomes a dead letter. Every writer holds one lock until its commit, so what was looked up stays true, and
positions rise in commit order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from psycopg import DataError, errors

from chatledger import metrics
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.ledger_records import SERVICE, LedgerRecord, dead_letter_record, ledger_record
from chatledger.adapters.ledger_rows import copy_line
from chatledger.adapters.postgres import Connection, Pool, PostgresPositions
from chatledger.errors import UndecodableRecord
from chatledger.ports import Appended, Clock, ConsumedRecord, TopicPartition
from chatledger_ledger.queries import load_queries

ROLE = "chatledger_recorder"
"""What the recorder's pool runs as: it may add events, and nothing else."""
NOT_KEEPABLE = (DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex)
"""What Postgres says of a value that is not JSON, or is nested too deeply."""
CHUNK_RECORDS = 50
"""So many records are handed to Postgres at once: few enough for it to begin early."""

_Place = tuple[str, int | None]
_QUERIES = load_queries("ledger.sql")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Row:
    """A record on its way in: as it was read, as it is kept, and whether that is as a dead letter."""

    record: ConsumedRecord
    kept: LedgerRecord
    is_dead: bool = False


@dataclass(frozen=True, slots=True)
class _Written:
    """How many rows an append wrote, and which of them are dead letters."""

    count: int
    dead: Sequence[_Row]


class PostgresLedger(PostgresLedgerReader):
    """The port Ledger over a pool that runs as `ROLE`; `incarnation` names the life of the broker it records."""

    def __init__(self, pool: Pool, *, incarnation: str, clock: Clock) -> None:
        super().__init__(pool)
        self.positions = PostgresPositions(pool, schema="ledger", incarnation=incarnation)
        self._incarnation = incarnation
        self._clock = clock
        self._with_care = False

    async def append(self, records: Sequence[ConsumedRecord]) -> Appended:
        """Record a batch and its positions in one transaction.

        Raises psycopg.OperationalError when Postgres goes away: nothing of the batch is there then, or all of it.
        """
        written = None if self._with_care else await self._append_straight(records)
        if written is None:
            written = await self._append_with_care(records)
            # Duplicates come in runs, as when a provider repeats its webhooks; so care outlasts this batch.
            self._with_care = written.count < len(records)
        for row in written.dead:
            _tell_of_dead_letter(row)
        return Appended(recorded=written.count, duplicates=len(records) - written.count)

    async def _append_straight(self, records: Sequence[ConsumedRecord]) -> _Written | None:
        """Return what was written, or None when Postgres refused a row and so all."""
        dead: list[_Row] = []

        def line(record: ConsumedRecord) -> bytes:
            try:
                return copy_line(ledger_record(record))
            except UndecodableRecord as wrong:
                dead.append(self._buried(record, str(wrong)))
                return copy_line(dead[-1].kept)

        try:
            async with self._pool.connection() as connection:
                fresh = await self._fresh(connection, records)
                async with connection.cursor() as cursor, cursor.copy(_QUERIES["copy"]) as copy:
                    # Postgres works on one chunk while the next is prepared.
                    for start in range(0, len(fresh), CHUNK_RECORDS):
                        await copy.write(b"".join(map(line, fresh[start : start + CHUNK_RECORDS])))
        except (errors.UniqueViolation, *NOT_KEEPABLE):
            return None
        return _Written(len(fresh), dead)

    async def _append_with_care(self, records: Sequence[ConsumedRecord]) -> _Written:
        async with self._pool.connection() as connection:
            fresh = [self._row(record) for record in await self._fresh(connection, records)]
            ids, places = await _taken(connection, fresh)
            missing = self._missing(fresh, set(ids), set(places))
            try:
                async with connection.transaction():
                    await _copy(connection, missing)
            except NOT_KEEPABLE:
                missing = [
                    await self._copy_or_bury(connection, chosen, ids, places)
                    for row in fresh
                    for chosen in self._missing([row], ids, places)
                ]
        return _Written(len(missing), [row for row in missing if row.is_dead])

    async def _fresh(self, connection: Connection, records: Sequence[ConsumedRecord]) -> list[ConsumedRecord]:
        """Begin the transaction: lock, leave out what is below its position, and move the positions on."""
        await connection.execute(_QUERIES["lock"])
        partitions = [TopicPartition(*each) for each in sorted({(each.topic, each.partition) for each in records})]
        positions = {
            (each.topic, each.partition): offset
            for each, offset in (await self.positions.lock(connection, partitions)).items()
        }
        fresh = []
        for record in records:
            partition = (record.topic, record.partition)
            if record.offset >= positions[partition]:
                fresh.append(record)
                positions[partition] = record.offset + 1
        if fresh:
            moved = {TopicPartition(*partition): offset for partition, offset in positions.items()}
            await self.positions.save(connection, moved)
        return fresh

    def _missing(self, rows: Sequence[_Row], ids: set[str], places: set[_Place]) -> list[_Row]:
        """Leave out the events that are there already; bury one whose place in its stream another event has.

        `ids` and `places` are those taken, and are added to.
        """
        missing = []
        for row in rows:
            place = (row.kept.stream, row.kept.version)
            if row.kept.id in ids:
                continue
            if row.kept.version is not None and place in places:
                reason = f"stream {row.kept.stream} has a version {row.kept.version} already, of another event"
                row = self._buried(row.record, reason)
            else:
                places.add(place)
            ids.add(row.kept.id)
            missing.append(row)
        return missing

    async def _copy_or_bury(self, connection: Connection, row: _Row, ids: set[str], places: set[_Place]) -> _Row:
        """Write one row; if Postgres refuses it, it gives its id and its place back to those after it."""
        try:
            async with connection.transaction():
                await _copy(connection, [row])
        except NOT_KEEPABLE as wrong:
            ids.discard(row.kept.id)
            places.discard((row.kept.stream, row.kept.version))
            # The rest of what Postgres says may quote the value, which is personal.
            row = self._buried(row.record, f"Postgres cannot keep it: {wrong.diag.message_primary}")
            await _copy(connection, [row])
        return row

    def _row(self, record: ConsumedRecord) -> _Row:
        try:
            return _Row(record, ledger_record(record))
        except UndecodableRecord as wrong:
            return self._buried(record, str(wrong))

    def _buried(self, record: ConsumedRecord, reason: str) -> _Row:
        letter = dead_letter_record(record, reason, incarnation=self._incarnation, now=self._clock.now())
        return _Row(record, letter, is_dead=True)


async def _taken(connection: Connection, rows: Sequence[_Row]) -> tuple[set[str], set[_Place]]:
    """Return which of the rows' ids and places in streams are taken by what is recorded."""
    ids = await connection.execute(_QUERIES["ids_recorded"], {"ids": [row.kept.id for row in rows]})
    taken_ids = {found for (found,) in await ids.fetchall()}
    versioned = [row.kept for row in rows if row.kept.version is not None]
    places = await connection.execute(
        _QUERIES["versions_recorded"],
        {"streams": [each.stream for each in versioned], "versions": [each.version for each in versioned]},
    )
    return taken_ids, {(stream, version) for stream, version in await places.fetchall()}


async def _copy(connection: Connection, rows: Sequence[_Row]) -> None:
    async with connection.cursor() as cursor, cursor.copy(_QUERIES["copy"]) as copy:
        await copy.write(b"".join([copy_line(row.kept) for row in rows]))


def _tell_of_dead_letter(row: _Row) -> None:
    metrics.DEAD_LETTERS.labels(SERVICE).inc()
    at = row.record
    _log.warning("record.dead_lettered", event_id=row.kept.id, topic=at.topic, partition=at.partition, offset=at.offset)
