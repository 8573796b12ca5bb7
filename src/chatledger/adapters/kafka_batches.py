"""Publishes many records at once: one Kafka batch and one future per partition, instead of one per record.

About twice as fast as `send()` for each record. The caller says the partition, and owns the producer. Records of one
partition keep their order, also where they fill more than one Kafka batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chatledger.adapters.kafka import PUBLISH_TIMEOUT_S
from chatledger.errors import BrokerUnavailable, ConfigurationError
from chatledger.events.codec import Headers


class OutgoingRecord(NamedTuple):
    """A record on its way, its partition decided. A value of None is a tombstone.

    `timestamp_ms` is in milliseconds since 1970; None: the time of sending.
    """

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None = None


class BatchPublisher:
    """Puts encoded records on topics through one idempotent producer that its owner starts and stops."""

    def __init__(self, producer: AIOKafkaProducer, *, timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        self._producer = producer
        self._timeout_s = timeout_s

    async def publish(self, records: Sequence[OutgoingRecord], last_look: Callable[[], None] | None = None) -> None:
        """Return when the broker has all of them. Raises BrokerUnavailable; some may be there all the same.

        `last_look` is called when all is encoded and only the sending is left; what it raises stops everything.
        """
        batches = self._encode(records)
        if last_look is not None:
            last_look()
        try:
            async with asyncio.timeout(self._timeout_s):
                sent = [
                    await self._producer.send_batch(batch, topic, partition=partition)
                    for (topic, partition), batch in batches
                ]
                for acknowledged in sent:
                    await acknowledged
        except (KafkaError, TimeoutError) as wrong:
            what = ", ".join(sorted({record.topic for record in records}))
            raise BrokerUnavailable(f"{what}: not acknowledged: {wrong or 'timed out'}") from wrong

    async def require_topics(self, names: Collection[str], *, partitions: int) -> None:
        """Raises ConfigurationError when a topic is missing or has another number of partitions.

        The embedded broker makes a topic that is asked for; a real one does not. Raises BrokerUnavailable too.
        """
        for name in names:
            try:
                found = await self._producer.partitions_for(name)
            except KafkaError as wrong:
                raise BrokerUnavailable(f"cannot ask about topic {name}: {wrong}") from wrong
            if len(found) != partitions:
                raise ConfigurationError(
                    f"topic {name} has {len(found)} partitions and must have {partitions}, as all topics:"
                    " create it so, or let chatledger up create it"
                )

    def _encode(self, records: Sequence[OutgoingRecord]) -> list[tuple[tuple[str, int], Any]]:
        """Kafka batches with their topic and partition, in the order in which they have to be sent."""
        new_batch, now_ms = self._producer.create_batch, int(time.time() * 1000)
        full: list[tuple[tuple[str, int], Any]] = []
        growing: dict[tuple[str, int], Any] = {}
        for topic, partition, key, value, headers, timestamp_ms in records:
            at, sent_ms = (topic, partition), now_ms if timestamp_ms is None else timestamp_ms
            batch = growing.get(at)
            if batch is None:
                batch = growing[at] = new_batch()
            listed = list(headers)  # aiokafka's encoder, which is in C, takes a list only
            if batch.append(timestamp=sent_ms, key=key, value=value, headers=listed) is None:
                # It is full. The first record of a batch always fits; the broker has the last word about its size.
                full.append((at, batch))
                batch = growing[at] = new_batch()
                batch.append(timestamp=sent_ms, key=key, value=value, headers=listed)
        return [*full, *growing.items()]
