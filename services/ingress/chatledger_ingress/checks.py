"""What GET /health asks of Kafka and Postgres: does it answer, and how much waits there."""

from __future__ import annotations

import asyncio

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from chatledger import topics
from chatledger_ingress.health import CHECK_TIMEOUT_S

_OUTBOX_TABLE = "notify.deliveries"
_OUTBOX = "SELECT count(*) FROM notify.deliveries WHERE status = 'waiting'"


class DialogLag:
    """How many records of chat.inbound the dialog has not committed yet.

    It asks as the dialog's group without being a member: a consumer that never subscribes. That needs no admin
    protocol, which the embedded broker lacks.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer: AIOKafkaConsumer | None = None

    async def __call__(self) -> int:
        """Count them. Raises KafkaError, or is cancelled when the broker does not answer."""
        if self._consumer is None:
            self._consumer = await self._started()
        consumer = self._consumer
        await consumer._client._wait_on_metadata(topics.INBOUND)
        partitions = [
            TopicPartition(topics.INBOUND, number) for number in consumer.partitions_for_topic(topics.INBOUND) or ()
        ]
        ends, beginnings = await asyncio.gather(
            consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
        )
        committed = [await consumer.committed(partition) for partition in partitions]
        return sum(
            max(0, ends[partition] - max(offset or 0, beginnings[partition]))
            for partition, offset in zip(partitions, committed, strict=True)
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def _started(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=topics.DIALOG_GROUP,
            enable_auto_commit=False,
            request_timeout_ms=int(CHECK_TIMEOUT_S * 1000),
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer


class PostgresChecks:
    """Whether Postgres answers, and how many messages wait to be sent. A connection for each question: it is rare."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def answers(self) -> None:
        """Return when it does. Raises psycopg.Error."""
        await self._number("SELECT 1")

    async def outbox(self) -> int:
        """Count the deliveries that wait; none where the notify service has not made its table yet."""
        there = await self._number(f"SELECT (to_regclass('{_OUTBOX_TABLE}') IS NOT NULL)::int")
        return await self._number(_OUTBOX) if there else 0

    async def _number(self, query: str) -> int:
        async with await psycopg.AsyncConnection.connect(self._url, connect_timeout=int(CHECK_TIMEOUT_S)) as connection:
            row = await (await connection.execute(query)).fetchone()
            return int(row[0]) if row is not None else 0
