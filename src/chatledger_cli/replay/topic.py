"""Replayed events onto a topic, word for word as they were recorded: nothing decoded, nothing lifted.

At least once: where a replay goes on after a failure, some records come again, with the same `ce_id` and in the same
partition. The topic may be any but the live ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import lru_cache

import typer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from chatledger import topics
from chatledger.adapters.kafka import cluster_id, start_producer, stop_producer
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.ledger_records import wire_of
from chatledger.adapters.ledger_rows import RecordedRow
from chatledger.errors import BrokerUnavailable, ConfigurationError
from chatledger.events.codec import WireEvent
from chatledger_cli.replay.seal import Door, Seal
from chatledger_ledger.verification import BrokerAddress

LIVE_TOPICS = frozenset(plan.name for plan in topics.PLANS)
"""What is published there is acted on: clients would be written to again."""
PUBLISH_TIMEOUT_S = 60.0
"""For one batch. Nobody waits for an answer here, so a broker that is slow may be."""
LINGER_MS = 5
KEYS_REMEMBERED = 10_000


class Topic:
    """Publishes to one topic, each record in the partition that every Kafka client takes for its key."""

    def __init__(self, publisher: BatchPublisher, topic: str, partitions: Sequence[int], name: str) -> None:
        self._publisher, self._topic, self.name = publisher, topic, name
        choose, everywhere = DefaultPartitioner(), list(partitions)
        # A conversation's events are near each other, and the hash of its key is computed in Python.
        self._partition_of = lru_cache(KEYS_REMEMBERED)(lambda key: choose(key, everywhere, everywhere))

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Return when the broker has acknowledged all of them. Raises BrokerUnavailable."""
        await self._publisher.publish([self._outgoing(wire_of(row.record)) for row in rows])

    def _outgoing(self, wire: WireEvent) -> OutgoingRecord:
        return OutgoingRecord(self._topic, self._partition_of(wire.key), wire.key, wire.value, wire.headers)

    def settle(self) -> int:
        """What is acknowledged is the broker's to keep."""
        return 0


def require_other_topic(topic: str) -> None:
    """Raise ConfigurationError where this is a live topic."""
    if topic in LIVE_TOPICS or topic.startswith(f"{topics.DIALOG_GROUP}-"):
        raise ConfigurationError(
            f"{topic} is a live topic: the services would act on its events again; name another topic"
        )


def doors_of(broker: BrokerAddress) -> list[Door]:
    """Where a client first finds a broker. Raises ConfigurationError where the address is none."""
    try:
        return [(host, port) for host, port, _ in collect_hosts(broker.bootstrap_servers)]
    except ValueError as wrong:
        raise ConfigurationError(f"{broker.bootstrap_servers!r} is no broker's address: write host:port") from wrong


@contextlib.asynccontextmanager
async def open_topic(broker: BrokerAddress, topic: str, seal: Seal) -> AsyncIterator[Topic]:
    """A topic to publish to, made where it is missing. Raises BrokerUnavailable, ConfigurationError."""
    await _prepare(broker.bootstrap_servers, topic, seal)
    life = broker.incarnation or await cluster_id(broker.bootstrap_servers)
    producer = await start_producer(broker.bootstrap_servers, linger_ms=LINGER_MS)
    try:
        publisher = BatchPublisher(producer, timeout_s=PUBLISH_TIMEOUT_S)
        partitions = sorted(await producer.partitions_for(topic))
        yield Topic(publisher, topic, partitions, f"topic {topic} of broker {life}")
    except KafkaError as wrong:
        raise BrokerUnavailable(f"cannot publish to {topic}: {wrong}") from wrong
    finally:
        await stop_producer(producer)


async def _prepare(bootstrap_servers: str, topic: str, seal: Seal) -> None:
    """Let the broker's nodes through the seal, and make the topic with as many partitions as the live ones have."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    try:
        # This much goes to the addresses that were given; from here on the nodes are told by the broker.
        await client.bootstrap()
        seal.open(_nodes(client.cluster.brokers()))
        cluster = await client.fetch_all_metadata()
    except KafkaError as wrong:
        raise BrokerUnavailable(f"no broker answers at {bootstrap_servers}: {wrong}") from wrong
    finally:
        await client.close()
    if cluster.controller is None:
        typer.echo("this broker is the embedded one: it keeps the newest 5 MiB of each partition", err=True)
    elif topic not in cluster.topics():
        await create_topics(bootstrap_servers, {topic: (topics.PARTITIONS, {})})


def _nodes(brokers: Iterable[object]) -> list[Door]:
    return [(each.host, each.port) for each in brokers]  # type: ignore[attr-defined]  # aiokafka ships no types
