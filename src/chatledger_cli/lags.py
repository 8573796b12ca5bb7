"""How far each service has read: ends of the topics against the positions that it has stored.

The dialog's positions are its group's commits; the others keep theirs in Postgres, by incarnation of the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import LiteralString

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.errors import BrokerUnavailable, OutsideUnavailable

DIALOG = "dialog"
READ_BY = {
    DIALOG: (topics.INBOUND,),
    "billing": (topics.DIALOG,),
    "notify": (topics.INBOUND, topics.DIALOG),
    "outreach": (topics.INBOUND, topics.DIALOG, topics.BILLING, topics.NOTIFY, topics.INVENTORY),
    "crm": (topics.BILLING,),
    "ledger": topics.ALL,
}
"""Each service, and the topics that it reads."""
POSITIONS: dict[str, LiteralString] = {
    "billing": """
        SELECT split_part(application_name, ':', 2), split_part(application_name, ':', 3)::int, max(notification_id)
        FROM billing.aggregate_tracking WHERE split_part(application_name, ':', 1) = %s GROUP BY 1, 2
    """,
    "notify": "SELECT topic, partition, next_offset FROM notify.positions WHERE incarnation = %s",
    "outreach": "SELECT topic, partition, next_offset FROM outreach.positions WHERE incarnation = %s",
    "crm": "SELECT topic, partition, next_offset FROM crm.positions WHERE incarnation = %s",
    "ledger": "SELECT topic, partition, next_offset FROM ledger.positions WHERE incarnation = %s",
}
"""Where each service keeps the next offset of each partition."""
WAITING: dict[str, LiteralString] = {
    "billing": """
        SELECT count(*) FROM billing.aggregate_events
        WHERE notification_id > coalesce((SELECT max(position) FROM billing.relay), 0)
    """,
    "notify": "SELECT count(*) FROM notify.deliveries WHERE published_at IS NULL",
    "outreach": "SELECT count(*) FROM outreach.events WHERE published_at IS NULL",
    "crm": "SELECT count(*) FROM crm.events WHERE published_at IS NULL",
}
"""What each service has decided and not yet put on a topic."""
PAUSE_S = 0.1
QUIET_POLLS = 3
"""So many looks in a row must find everything read and nothing new: between two topics an event is on no topic."""

Ends = dict[TopicPartition, int]


class Lags:
    """Asks the broker and Postgres about some services, over connections of its own."""

    def __init__(self, consumer: AIOKafkaConsumer, *, incarnation: str, database: str, services: Sequence[str]) -> None:
        self._consumer = consumer
        self._incarnation, self._database = incarnation, database
        self._services = [name for name in READ_BY if name in services]

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, *, broker: str, incarnation: str, database: str, services: Sequence[str]
    ) -> AsyncIterator[Lags]:
        """Connect, and make the embedded broker's topics by asking for them. Raises BrokerUnavailable."""
        # It asks as the dialog's group without being a member: it never subscribes.
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=topics.DIALOG_GROUP, enable_auto_commit=False)
        try:
            await consumer.start()
            for topic in topics.ALL:
                await consumer._client._wait_on_metadata(topic)
            yield cls(consumer, incarnation=incarnation, database=database, services=services)
        except KafkaError as wrong:
            raise BrokerUnavailable(f"no broker answers at {broker}: {wrong}") from wrong
        finally:
            await consumer.stop()

    async def now(self) -> dict[str, int]:
        """How many records each service has not read yet. Raises OutsideUnavailable."""
        return (await self._look())[0]

    async def ends(self) -> Ends:
        """Where each partition ends. Raises BrokerUnavailable."""
        try:
            ends: Ends = await self._consumer.end_offsets(_everywhere(topics.ALL))
        except KafkaError as wrong:
            raise BrokerUnavailable(f"the broker does not say where its topics end: {wrong}") from wrong
        return ends

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
            ends = await self.ends()
            oldest: Ends = await self._consumer.beginning_offsets(list(ends))
            read = await self._read()
        except (KafkaError, psycopg.Error) as wrong:
            raise OutsideUnavailable(f"cannot ask how far the services have read: {wrong}") from wrong
        lags = {
            name: sum(
                max(0, end - max(read[name].get(partition, 0), oldest[partition]))
                for partition, end in ends.items()
                if partition.topic in READ_BY[name]
            )
            for name in self._services
        }
        return lags, ends

    async def _waiting(self) -> int:
        asked = [WAITING[name] for name in self._services if name in WAITING]
        async with await psycopg.AsyncConnection.connect(self._database) as connection:
            rows = [await (await connection.execute(query)).fetchone() for query in asked]
        return sum(int(row[0]) for row in rows if row)

    async def _read(self) -> dict[str, Ends]:
        """The next offset of each partition that each service has read something of."""
        committed = {each: await self._consumer.committed(each) or 0 for each in _everywhere(READ_BY[DIALOG])}
        read: dict[str, Ends] = {DIALOG: committed}
        async with await psycopg.AsyncConnection.connect(self._database) as connection:
            for name in self._services:
                if name in POSITIONS:
                    rows = await (await connection.execute(POSITIONS[name], (self._incarnation,))).fetchall()
                    read[name] = {TopicPartition(topic, number): offset for topic, number, offset in rows}
        return read


def _everywhere(names: Sequence[str]) -> list[TopicPartition]:
    return [TopicPartition(name, number) for name in names for number in range(topics.PARTITIONS)]
