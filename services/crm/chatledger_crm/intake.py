"""Takes batches of chat.billing into the tables, each with its position in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import structlog

from chatledger.adapters.postgres import Connection, PostgresPositions
from chatledger.events.codec import encode_data
from chatledger.metrics import DEAD_LETTERS, DUPLICATES, HANDLED
from chatledger.ports import Clock, ConsumedRecord, Publisher, TopicPartition
from chatledger.topics import DEAD
from chatledger_crm.handlers import Work, read_batch
from chatledger_crm.settings import SERVICE
from chatledger_crm.sql import query

_log = structlog.get_logger()


class Intake:
    """The effect of a batch: rows for orders and their changes; dead letters for what is neither."""

    def __init__(
        self,
        *,
        positions: PostgresPositions,
        projects: Collection[str],
        incarnation: str,
        publisher: Publisher,
        clock: Clock,
        committed: Callable[[], None],
    ) -> None:
        self._positions, self._projects, self._incarnation = positions, projects, incarnation
        self._publisher, self._clock, self._committed = publisher, clock, committed

    async def handle(self, connection: Connection, batch: Sequence[ConsumedRecord]) -> None:
        """Commit a batch. Raises BrokerUnavailable, psycopg.Error: end the process."""
        partitions = {TopicPartition(record.topic, record.partition) for record in batch}
        async with connection.transaction():
            locked = await self._positions.lock(connection, sorted(partitions))
            fresh = [r for r in batch if r.offset >= locked[TopicPartition(r.topic, r.partition)]]
            work = read_batch(fresh, projects=self._projects, incarnation=self._incarnation, now=self._clock.now())
            await self._write(connection, work)
            if fresh:
                moved = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in fresh}
                await self._positions.save(connection, moved)
        if work.pushes:
            self._committed()
        HANDLED.labels(SERVICE).inc(len(fresh))
        DUPLICATES.labels(SERVICE).inc(len(batch) - len(fresh))

    async def _write(self, connection: Connection, work: Work) -> None:
        if work.dead_letters:
            await self._publisher.publish(DEAD, work.dead_letters)
            DEAD_LETTERS.labels(SERVICE).inc(len(work.dead_letters))
            for letter in work.dead_letters:
                _log.error("record.dead_lettered", event_id=letter.id, reason=getattr(letter.data, "reason", ""))
        if work.orders:
            orders = (
                [each.order_id for each in work.orders],
                [each.project for each in work.orders],
                [encode_data(each).decode() for each in work.orders],
                [each.version for each in work.orders],
            )
            await connection.execute(query("take_orders"), orders)
        if work.pushes:
            pushes = (
                [each.id for each in work.pushes],
                [each.order_id for each in work.pushes],
                [each.project for each in work.pushes],
                [each.status for each in work.pushes],
                [each.correlation_id for each in work.pushes],
                [each.traceparent for each in work.pushes],
            )
            await connection.execute(query("take_pushes"), pushes)
