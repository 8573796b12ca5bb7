"""The subscription's watchdog and its errors, over a consumer that behaves as a broken one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError

from chatledger.adapters import kafka
from chatledger.adapters.kafka import KafkaSubscription
from chatledger.adapters.memory import MemoryPositions
from chatledger.errors import ChatledgerError, OutsideUnavailable

PARTITION = KafkaPartition("chat.dialog", 2)


class BrokenConsumer:
    """It is assigned a partition and fetches nothing. `end` is where the broker says that the partition ends."""

    def __init__(self, *, end: int | None = 0, fetch_error: Exception | None = None) -> None:
        self.end, self.fetch_error = end, fetch_error

    def subscribe(self, topics: Sequence[str], listener: object) -> None:
        pass

    def assignment(self) -> frozenset[KafkaPartition]:
        return frozenset({PARTITION})

    def highwater(self, partition: KafkaPartition) -> int | None:
        return None

    async def end_offsets(self, partitions: Collection[KafkaPartition]) -> Mapping[KafkaPartition, int]:
        if self.end is None:
            raise KafkaConnectionError("no broker")
        return dict.fromkeys(partitions, self.end)

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[KafkaPartition, Sequence[object]]:
        if self.fetch_error is not None:
            raise self.fetch_error
        await asyncio.sleep(0.005)
        return {}


async def read(consumer: BrokenConsumer) -> None:
    subscription = KafkaSubscription(consumer, topics=["chat.dialog"], positions=MemoryPositions())
    async for _ in subscription.batches():
        raise AssertionError("there is nothing to read")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "STUCK_AFTER_S", 0.1)
    monkeypatch.setattr(kafka, "ASK_ENDS_EVERY_S", 0.02)


async def test_a_reader_that_fetches_nothing_of_what_the_broker_has_is_stuck() -> None:
    with pytest.raises(OutsideUnavailable, match="although there is lag"):
        async with asyncio.timeout(10):
            await read(BrokenConsumer(end=5))


@pytest.mark.parametrize("end", [0, None])
async def test_a_reader_with_nothing_to_read_or_without_a_broker_waits(end: int | None) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await read(BrokenConsumer(end=end))


async def test_records_that_are_gone_are_named_with_what_to_do() -> None:
    with pytest.raises(ChatledgerError, match=r"chat\.dialog/2 offset 7.*CHATLEDGER_INCARNATION") as ended:
        await read(BrokenConsumer(fetch_error=OffsetOutOfRangeError({PARTITION: 7})))
    assert not isinstance(ended.value, OutsideUnavailable), "trying later does not help"
