"""Brokers that come and go, for the tests of a restore: what was on them is recorded, and they are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.ledger_records import recorded
from chatledger.events.envelope import Envelope
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger.project_files import load_projects
from chatledger_billing.app import set_up_database
from chatledger_cli.backends import SCHEMAS, migrate_all
from chatledger_cli.restoring import Place, Restored, restore
from chatledger_ledger.restore_plan import EVERYWHERE, Wanted
from tests.support.dialog import partition_of
from tests.support.ledger import open_ledger

PROJECTS = load_projects(Path(__file__).resolve().parents[2] / "projects")


class LostBroker:
    """What was once on a broker, and, where it `begins` with something put back, from which offsets on."""

    def __init__(self, incarnation: str, begins: Mapping[TopicPartition, int] | None = None) -> None:
        self.incarnation = incarnation
        self._next: Counter[TopicPartition] = Counter(begins or {})

    def put(self, placed: Iterable[tuple[str, Envelope]]) -> list[ConsumedRecord]:
        """Put events where their keys say; return the records."""
        records = []
        for topic, envelope in placed:
            at = TopicPartition(topic, partition_of(envelope.conversation.encode()))
            records.append(recorded(envelope, topic=topic, partition=at.partition, offset=self._next[at]))
            self._next[at] += 1
        return records

    async def record(self, url: str, records: Sequence[ConsumedRecord]) -> None:
        """Let the recorder read these."""
        async with open_ledger(url, incarnation=self.incarnation) as ledger:
            await ledger.append(records)


async def set_up(url: str) -> None:
    """Make the tables of every service."""
    await migrate_all(url, list(SCHEMAS))
    await set_up_database(url)


async def restored_to(broker: EmbeddedBroker, url: str, wanted: Wanted | None = None, **options: Any) -> Restored:
    """Restore to an embedded broker."""
    place = Place(broker=broker.bootstrap_servers, incarnation=broker.incarnation, database=url, projects=PROJECTS)
    return await restore(place, wanted or Wanted(), **options)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """A connection that commits each statement."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def rows(url: str, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a query returns."""
    async with connected(url) as connection:
        return await (await connection.execute(query, parameters)).fetchall()


async def set_position(url: str, schema: str, incarnation: str, at: TopicPartition, offset: int) -> None:
    """Say how far a service has come."""
    async with connected(url) as connection:
        await connection.execute(
            f"INSERT INTO {schema}.positions VALUES (%s, %s, %s, %s)".encode(),
            (incarnation, at.topic, at.partition, offset),
        )


async def positions(url: str, schema: str, incarnation: str) -> dict[TopicPartition, int]:
    """How far a service has come in one life of the broker."""
    query = f"SELECT topic, partition, next_offset FROM {schema}.positions WHERE incarnation = %s"
    async with connected(url) as connection:
        found = await (await connection.execute(query.encode(), (incarnation,))).fetchall()
    return {TopicPartition(topic, partition): offset for topic, partition, offset in found}


async def read_all(broker: str) -> dict[TopicPartition, list[Any]]:
    """Every record on the topics that carry events, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
    await consumer.start()
    try:
        everywhere = [KafkaPartition(at.topic, at.partition) for at in EVERYWHERE]
        for topic in topics.ALL:
            await consumer._client._wait_on_metadata(topic)
        consumer.assign(everywhere)
        ends = await consumer.end_offsets(everywhere)
        found: dict[TopicPartition, list[Any]] = {at: [] for at in EVERYWHERE}
        while any([await consumer.position(at) < ends[at] for at in everywhere]):
            for at, records in (await consumer.getmany(timeout_ms=100)).items():
                found[TopicPartition(at.topic, at.partition)] += records
        return found
    finally:
        await consumer.stop()


async def committed(broker: str) -> dict[int, int | None]:
    """Where the dialog's group goes on, by partition of chat.inbound."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=topics.DIALOG_GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        return {
            number: await consumer.committed(KafkaPartition(topics.INBOUND, number))
            for number in range(topics.PARTITIONS)
        }
    finally:
        await consumer.stop()


def id_of(record: Any) -> str:
    """The event id of a record."""
    return str(dict(record.headers)["ce_id"].decode())
