"""The brokers that the contract suites run over, one line each in BACKENDS.

Every one of them opens to a `Backend`: topics, publishers and subscriptions, and a way to lose the broker.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import psutil
import pytest

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, KafkaSubscription, new_consumer, start_producer, stop_producer
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.memory import MemoryBroker, MemoryPublisher, MemorySubscription
from chatledger.ports import PositionStore, Publisher, Subscription
from chatledger.topics import PARTITIONS
from tests.support.kafka import RealKafka

PAUSE_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 1.0
"""How long a publisher of these tests waits for the broker."""


class Backend(Protocol):
    """What a contract suite needs of a broker. `publish_timeout_s` bounds how long a refusal may take."""

    publish_timeout_s: float

    async def new_topic(self) -> str:
        """Make a topic that nobody else uses."""
        ...

    async def publisher(self) -> Publisher:
        """Return a publisher."""
        ...

    async def subscribe(self, topics: Sequence[str], positions: PositionStore) -> Subscription:
        """Return a subscription, as a group of its own."""
        ...

    async def lose_broker(self) -> None:
        """From here on no broker answers."""
        ...


class MemoryBackend:
    """Everything in this process."""

    publish_timeout_s = PUBLISH_TIMEOUT_S

    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self._publishers: list[MemoryPublisher] = []

    async def new_topic(self) -> str:
        return uuid.uuid4().hex

    async def publisher(self) -> Publisher:
        self._publishers.append(MemoryPublisher(broker=self._broker))
        return self._publishers[-1]

    async def subscribe(self, topics: Sequence[str], positions: PositionStore) -> Subscription:
        return MemorySubscription(self._broker, topics=topics, positions=positions)

    async def lose_broker(self) -> None:
        for publisher in self._publishers:
            publisher.available = False


class KafkaBackend:
    """A broker that speaks Kafka's protocol at an address."""

    publish_timeout_s = PUBLISH_TIMEOUT_S

    def __init__(self, bootstrap_servers: str, *, makes_topics: bool, lose: Callable[[], None]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._makes_topics = makes_topics
        self._lose = lose
        self._opened = AsyncExitStack()

    async def new_topic(self) -> str:
        name = f"contract-{uuid.uuid4().hex}"
        if not self._makes_topics:
            await create_topics(self._bootstrap_servers, {name: (PARTITIONS, {})})
        return name

    async def publisher(self) -> Publisher:
        producer = await start_producer(self._bootstrap_servers)
        self._opened.push_async_callback(stop_producer, producer, timeout_s=self.publish_timeout_s)
        return KafkaPublisher(producer, timeout_s=self.publish_timeout_s)

    async def subscribe(self, topics: Sequence[str], positions: PositionStore) -> Subscription:
        consumer = new_consumer(self._bootstrap_servers, group=f"contract-{uuid.uuid4().hex}")
        subscription = KafkaSubscription(consumer, topics=topics, positions=positions)
        await consumer.start()
        self._opened.push_async_callback(consumer.stop)
        return subscription

    async def lose_broker(self) -> None:
        self._lose()

    async def close(self) -> None:
        await self._opened.aclose()


@asynccontextmanager
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """The in-memory broker that ships."""
    yield MemoryBackend()


@asynccontextmanager
async def embedded(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """The embedded broker, a new one for each test."""
    with EmbeddedBroker() as broker:
        backend = KafkaBackend(broker.bootstrap_servers, makes_topics=True, lose=broker.stop)
        yield backend
        await backend.close()


@asynccontextmanager
async def kafka(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Apache Kafka, one for all tests; it is lost by stopping its process for a while."""
    broker: RealKafka = request.getfixturevalue("real_kafka")
    backend = KafkaBackend(broker.bootstrap_servers, makes_topics=False, lose=lambda: _pause(broker.process_id))
    try:
        yield backend
    finally:
        os.kill(broker.process_id, signal.SIGCONT)
        await backend.close()


def _pause(process_id: int) -> None:
    """Stop a process, and return when all its threads stand still: until one takes the signal, the others go on."""
    os.kill(process_id, signal.SIGSTOP)
    deadline = time.monotonic() + PAUSE_TIMEOUT_S
    threads = [psutil.Process(thread.id) for thread in psutil.Process(process_id).threads()]
    while any(thread.status() != psutil.STATUS_STOPPED for thread in threads):
        assert time.monotonic() < deadline, f"process {process_id} does not stop"
        time.sleep(0.001)


BACKENDS = (
    pytest.param(memory, id="memory"),
    pytest.param(embedded, id="embedded"),
    pytest.param(kafka, id="kafka", marks=pytest.mark.kafka),
)
