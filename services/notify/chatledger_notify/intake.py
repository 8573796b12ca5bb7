"""Takes batches of chat.dialog into the tables, each with its position in one transaction, then on to the sender."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from chatledger.adapters.postgres import Connection, PostgresPositions
from chatledger.metrics import DEAD_LETTERS, DUPLICATES, HANDLED
from chatledger.ports import Clock, ConsumedRecord, Publisher, TopicPartition
from chatledger.topics import DEAD
from chatledger_notify.handlers import SERVICE, Work, read_batch
from chatledger_notify.provider import Provider
from chatledger_notify.sender import Sender
from chatledger_notify.store import NotifyStore
from chatledger_notify.timers import TimerService

_log = structlog.get_logger()


class Intake:
    """The effect of a batch: rows for deliveries and timers; dead letters for what is neither."""

    def __init__(
        self,
        *,
        store: NotifyStore,
        positions: PostgresPositions,
        incarnation: str,
        publisher: Publisher,
        provider: Provider,
        sender: Sender,
        timers: TimerService,
        clock: Clock,
    ) -> None:
        self._store, self._positions, self._incarnation = store, positions, incarnation
        self._publisher, self._provider = publisher, provider
        self._sender, self._timers, self._clock = sender, timers, clock

    async def handle(self, connection: Connection, batch: Sequence[ConsumedRecord]) -> None:
        """Commit a batch, then offer what was new. Raises BrokerUnavailable, psycopg.Error: end the process."""
        async with self._sender.gate():
            async with connection.transaction():
                partitions = {TopicPartition(record.topic, record.partition) for record in batch}
                locked = await self._positions.lock(connection, sorted(partitions))
                fresh = [r for r in batch if r.offset >= locked[TopicPartition(r.topic, r.partition)]]
                work = read_batch(
                    fresh, knows=self._provider.knows, incarnation=self._incarnation, now=self._clock.now()
                )
                new = await self._write(connection, work)
                if fresh:
                    moved = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in fresh}
                    await self._positions.save(connection, moved)
            self._sender.offer([each for each in work.deliveries.values() if each.id in new])
            if len(fresh) < len(batch):
                # Somebody else, who is no longer the owner, took these in; the rows are there, and ours to send.
                for partition in sorted({record.partition for record in batch} & self._sender.queues.owned):
                    await self._sender.take_from_table(partition)
        for timer in work.timers.values():
            self._timers.expect(timer.due)
        HANDLED.labels(SERVICE).inc(len(fresh))
        DUPLICATES.labels(SERVICE).inc(len(batch) - len(fresh) + work.duplicates + len(work.deliveries) - len(new))

    async def _write(self, connection: Connection, work: Work) -> set[str]:
        if work.dead_letters:
            await self._publisher.publish(DEAD, work.dead_letters)
            DEAD_LETTERS.labels(SERVICE).inc(len(work.dead_letters))
            for letter in work.dead_letters:
                _log.error("record.dead_lettered", event_id=letter.id, reason=getattr(letter.data, "reason", ""))
        if work.timers:
            await self._store.save_timers(connection, list(work.timers.values()))
        if not work.deliveries:
            return set()
        return await self._store.insert_deliveries(connection, list(work.deliveries.values()))
