"""Takes batches into the tables, each with its effects and its position in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import structlog

from chatledger.adapters.postgres import Connection, PostgresPositions
from chatledger.dead_letters import dead_letter
from chatledger.errors import OutsideUnavailable
from chatledger.events.envelope import Envelope
from chatledger.metrics import DEAD_LETTERS, DUPLICATES, HANDLED
from chatledger.ports import ConsumedRecord, Publisher, TopicPartition
from chatledger.topics import DEAD
from chatledger_outreach.handlers import Batch, handle, is_of_interest, read_batch
from chatledger_outreach.journal import Conflict
from chatledger_outreach.parts import Outreach
from chatledger_outreach.settings import SERVICE

CONFLICTS_MAX = 20
"""Each conflict means that somebody else decided something; so many in a row mean that something else is wrong."""

_log = structlog.get_logger()


class Intake:
    """Handles batches. Where a batch has nothing of interest its positions wait for the next, or `save_positions`."""

    def __init__(
        self, *, outreach: Outreach, positions: PostgresPositions, incarnation: str, publisher: Publisher
    ) -> None:
        self._outreach, self._positions = outreach, positions
        self._incarnation, self._publisher = incarnation, publisher
        self._projects = frozenset(name.encode() for name in outreach.projects)
        self._passed: dict[TopicPartition, int] = {}

    async def handle(self, connection: Connection, records: Sequence[ConsumedRecord]) -> None:
        """Commit a batch. Raises BrokerUnavailable, psycopg.Error: end the process."""
        if any(is_of_interest(record, self._projects) for record in records):
            await self._commit(connection, records)
        else:
            self._passed.update(_after(records))
        HANDLED.labels(SERVICE).inc(len(records))

    @property
    def has_passed(self) -> bool:
        """Whether there is something for `save_positions`."""
        return bool(self._passed)

    async def save_positions(self, connection: Connection) -> None:
        """Save the positions of batches in which nothing was to be done."""
        passed, self._passed = self._passed, {}
        if passed:
            async with connection.transaction():
                locked = await self._positions.lock(connection, sorted(passed))
                await self._positions.save(connection, {at: max(offset, locked[at]) for at, offset in passed.items()})

    def _read(self, records: Sequence[ConsumedRecord]) -> Batch:
        now = self._outreach.clock.now()
        return read_batch(records, projects=self._projects, incarnation=self._incarnation, now=now)

    async def _commit(self, connection: Connection, records: Sequence[ConsumedRecord]) -> None:
        await self.save_positions(connection)
        one_by_one = False
        for tries_left in range(CONFLICTS_MAX, -1, -1):
            try:
                async with connection.transaction():
                    await self._take(connection, records, one_by_one=one_by_one)
                break
            except (Conflict, psycopg.errors.DeadlockDetected):
                if not tries_left:
                    raise
            except (OutsideUnavailable, psycopg.OperationalError):
                raise
            except Exception:
                if one_by_one:
                    raise
                # Something in the batch cannot be taken: find which, and let the others pass.
                one_by_one = True
        self._outreach.committed()

    async def _take(
        self, connection: Connection, records: Sequence[ConsumedRecord], *, one_by_one: bool = False
    ) -> None:
        after = _after(records)
        locked = await self._positions.lock(connection, sorted(after))
        fresh = [each for each in records if each.offset >= locked[TopicPartition(each.topic, each.partition)]]
        DUPLICATES.labels(SERVICE).inc(len(records) - len(fresh))
        batch = self._read(fresh)
        letters = batch.dead_letters
        if one_by_one:
            letters = letters + await self._take_one_by_one(connection, batch)
        else:
            await handle(connection, batch.envelopes, self._outreach)
        if letters:
            await self._publisher.publish(DEAD, letters)
            DEAD_LETTERS.labels(SERVICE).inc(len(letters))
            for letter in letters:
                _log.error("record.dead_lettered", event_id=letter.id, reason=getattr(letter.data, "reason", ""))
        if fresh:
            await self._positions.save(connection, _after(fresh))

    async def _take_one_by_one(self, connection: Connection, batch: Batch) -> list[Envelope]:
        """Take each event for itself; return the letters of those that cannot be taken."""
        letters = []
        for record, envelope in zip(batch.records, batch.envelopes, strict=True):
            try:
                async with connection.transaction():
                    await handle(connection, [envelope], self._outreach)
            except (OutsideUnavailable, Conflict, psycopg.OperationalError):
                raise
            except Exception as wrong:
                now, incarnation = self._outreach.clock.now(), self._incarnation
                letters.append(
                    dead_letter(record, wrong, service=SERVICE, incarnation=incarnation, now=now, cause=envelope)
                )
        return letters


def _after(records: Sequence[ConsumedRecord]) -> dict[TopicPartition, int]:
    """The positions after these records."""
    return {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
