"""A broker in this process's memory: publisher, subscription and positions, for tests without any server.

It keeps what Kafka promises and our code relies on: a topic has partitions, a key always goes to the same one (by
Kafka's own hash), a partition keeps its order, offsets have no gaps. It forgets all when it goes; each subscription
reads every partition, so that groups cannot be tested with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field

from aiokafka.partitioner import murmur2

from chatledger.errors import BrokerUnavailable
from chatledger.events.codec import Headers, to_wire
from chatledger.events.envelope import Envelope
from chatledger.ports import ConsumedRecord, Positions, PositionStore, TopicPartition
from chatledger.topics import PARTITIONS

BATCH_RECORDS_MAX = 1_000
"""As many as the subscription to a real broker yields at once."""


class MemoryBroker:
    """Topics in memory, made when they are first named. Used from one event loop."""

    def __init__(self, *, partitions: int = PARTITIONS) -> None:
        self.partitions = partitions
        self._topics: dict[str, list[list[ConsumedRecord]]] = {}
        self._news = asyncio.Event()

    def append(self, topic: str, key: bytes, value: bytes | None, headers: Headers) -> ConsumedRecord:
        """Put one record at the end of its key's partition, and return it as readers will see it."""
        partition = (murmur2(key) & 0x7FFFFFFF) % self.partitions
        records = self._partitions_of(topic)[partition]
        record = ConsumedRecord(
            topic=topic,
            partition=partition,
            offset=len(records),
            key=key,
            value=value,
            headers=headers,
        )
        records.append(record)
        self.wake()
        return record

    def records(self, at: TopicPartition, *, offset: int = 0, limit: int | None = None) -> list[ConsumedRecord]:
        """Return the records of one partition from `offset` on, at most `limit`."""
        return self._partitions_of(at.topic)[at.partition][offset : None if limit is None else offset + limit]

    def all_records(self, topic: str) -> list[ConsumedRecord]:
        """Return the records of all partitions of a topic, one partition after the other."""
        return [record for partition in self._partitions_of(topic) for record in partition]

    def end(self, at: TopicPartition) -> int:
        """Return the offset that the next record of a partition will have."""
        return len(self._partitions_of(at.topic)[at.partition])

    def wake(self) -> None:
        """Make every waiting reader look again."""
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()

    def news(self) -> asyncio.Event:
        """Return what will be set when there is something new; take it before you look."""
        return self._news

    def _partitions_of(self, topic: str) -> list[list[ConsumedRecord]]:
        return self._topics.setdefault(topic, [[] for _ in range(self.partitions)])


@dataclass(slots=True, kw_only=True)
class MemoryPublisher:
    """The port Publisher. Set `available` to False for a broker that is away."""

    broker: MemoryBroker
    available: bool = True

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Return when the broker has all of them. Raises BrokerUnavailable."""
        records = [to_wire(envelope) for envelope in envelopes]
        await self.publish_raw(topic, [(record.key, record.value, record.headers) for record in records])

    async def publish_raw(self, topic: str, records: Sequence[tuple[bytes, bytes | None, Headers]]) -> None:
        """The same for records that are encoded already. A value of None is a tombstone."""
        # A real broker lets others run in between; code that relies on the contrary should fail here too.
        await asyncio.sleep(0)
        if not self.available:
            raise BrokerUnavailable(f"{topic}: not acknowledged: the memory broker was told to be away")
        for key, value, headers in records:
            self.broker.append(topic, key, value, headers)


@dataclass(slots=True)
class MemoryPositions:
    """The port PositionStore, with a way to move on."""

    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions`; those that were never saved are absent."""
        return {each: self.next_offsets[each] for each in partitions if each in self.next_offsets}

    def advance(self, records: Sequence[ConsumedRecord]) -> None:
        """Save that `records` were handled."""
        for record in records:
            self.next_offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1


class MemorySubscription:
    """The port Subscription: reads all partitions of its topics from the position store's offsets."""

    def __init__(self, broker: MemoryBroker, *, topics: Collection[str], positions: PositionStore) -> None:
        self._broker = broker
        self._positions = positions
        self._assigned = [
            TopicPartition(topic, partition) for topic in topics for partition in range(broker.partitions)
        ]
        self._next: dict[TopicPartition, int] = {}
        self._closing = False

    async def batches(self) -> AsyncIterator[Sequence[ConsumedRecord]]:
        """Yield what has arrived, in order within each partition, until `close`."""
        stored = await self._positions.load(self._assigned)
        self._next = {each: stored.get(each, 0) for each in self._assigned}
        while not self._closing:
            news = self._broker.news()
            batch = self._read()
            if not batch:
                await news.wait()
                continue
            yield batch
            for record in batch:
                self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1

    async def lag(self) -> dict[TopicPartition, int]:
        """How many records of each partition were not yet handled."""
        return {each: max(0, self._broker.end(each) - self._next.get(each, 0)) for each in self._assigned}

    async def close(self) -> None:
        """End `batches` after the batch in hand."""
        self._closing = True
        self._broker.wake()

    def _read(self) -> list[ConsumedRecord]:
        batch: list[ConsumedRecord] = []
        for each in self._assigned:
            room = BATCH_RECORDS_MAX - len(batch)
            batch += self._broker.records(each, offset=self._next[each], limit=room)
        return batch
