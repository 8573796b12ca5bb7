"""How far each service has read: ends of the topics against the positions that it has stored.

The dialog's positions are its group's commits; the others keep theirs in Postgres, by incarnation of the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import LiteralString

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.errors import BrokerUnavailable, OutsideUnavailable
from chatledger_cli.backends import Backends

DIALOG = "dialog"
READ_BY = {
    DIALOG: (topics.INBOUND,),
    "billing": (topics.DIALOG,),
    "notify": (topics.DIALOG,),
    "ledger": topics.ALL,
}
"""Each service, and the topics that it reads."""
POSITIONS: dict[str, LiteralString] = {
    "billing": """
        SELECT split_part(application_name, ':', 2), split_part(application_name, ':', 3)::int, max(notification_id)
        FROM billing.aggregate_tracking WHERE split_part(application_name, ':', 1) = %s GROUP BY 1, 2
    """,
    "notify": "SELECT topic, partition, next_offset FROM notify.positions WHERE incarnation = %s",
    "ledger": "SELECT topic, partition, next_offset FROM ledger.positions WHERE incarnation = %s",
}
"""Where each service keeps the next offset of each partition."""
WAITING = """
    SELECT (SELECT count(*) FROM notify.deliveries WHERE published_at IS NULL)
         + (SELECT count(*) FROM billing.aggregate_events
            WHERE notification_id > coalesce((SELECT max(position) FROM billing.relay), 0))
"""
"""What was decided and is not yet on a topic."""
PAUSE_S = 0.1
QUIET_POLLS = 3
"""So many looks in a row must find everything read and nothing new: between two topics an event is on no topic."""

Ends = dict[TopicPartition, int]


class Lags:
    """Asks the broker and Postgres, over connections of its own."""

    def __init__(self, backends: Backends, consumer: AIOKafkaConsumer) -> None:
        self._backends, self._consumer = backends, consumer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, backends: Backends) -> AsyncIterator[Lags]:
        """Connect, and make the embedded broker's topics by asking for them. Raises BrokerUnavailable."""
        # It asks as the dialog's group without being a member: it never subscribes.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=backends.broker, group_id=topics.DIALOG_GROUP, enable_auto_commit=False
        )
        try:
            await consumer.start()
            for topic in topics.ALL:
                await consumer._client._wait_on_metadata(topic)
            yield cls(backends, consumer)
        except KafkaError as wrong:
            raise BrokerUnavailable(f"no broker answers at {backends.broker}: {wrong}") from wrong
        finally:
            await consumer.stop()

    async def now(self) -> dict[str, int]:
        """How many records each service has not read yet. Raises OutsideUnavailable."""
        return (await self._look())[0]

    async def settle(self, *, timeout_s: float, only: str | None = None, outbox: bool = False) -> int:
        """Wait until all services, or `only` one, have read everything; return how much is left after `timeout_s`.

        With `outbox` what waits in Postgres to be sent or published counts too.
        """
        deadline = time.monotonic() + timeout_s
        quiet, seen = 0, None
        while True:
            lags, ends = await self._look()
            left = lags[only] if only else sum(lags.values())
            left += await self._waiting() if outbox else 0
            quiet = quiet + 1 if left == 0 and ends == seen else 0
            seen = ends
            if quiet >= QUIET_POLLS or time.monotonic() > deadline:
                return left
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> tuple[dict[str, int], Ends]:
        try:
            partitions = [TopicPartition(topic, n) for topic in topics.ALL for n in range(topics.PARTITIONS)]
            ends: Ends = await self._consumer.end_offsets(partitions)
            oldest: Ends = await self._consumer.beginning_offsets(partitions)
            read = {name: await self._positions(name) for name in READ_BY}
        except (KafkaError, psycopg.Error) as wrong:
            raise OutsideUnavailable(f"cannot ask how far the services have read: {wrong}") from wrong
        lags = {
            name: sum(
                max(0, end - max(read[name].get(partition, 0), oldest[partition]))
                for partition, end in ends.items()
                if partition.topic in READ_BY[name]
            )
            for name in READ_BY
        }
        return lags, ends

    async def _waiting(self) -> int:
        async with await psycopg.AsyncConnection.connect(self._backends.database) as connection:
            row = await (await connection.execute(WAITING)).fetchone()
        return int(row[0]) if row else 0

    async def _positions(self, name: str) -> Ends:
        if name == DIALOG:
            partitions = [TopicPartition(topics.INBOUND, n) for n in range(topics.PARTITIONS)]
            return {each: await self._consumer.committed(each) or 0 for each in partitions}
        async with await psycopg.AsyncConnection.connect(self._backends.database) as connection:
            rows = await (await connection.execute(POSITIONS[name], (self._backends.incarnation,))).fetchall()
        return {TopicPartition(topic, number): offset for topic, number, offset in rows}
