"""What every Subscription keeps, whatever the broker: from the beginning or a position, all of it, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from chatledger.adapters.memory import MemoryPositions
from chatledger.events import Envelope
from chatledger.events.codec import from_wire
from chatledger.events.dialog import QuantityGiven
from chatledger.events.envelope import conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.ports import ConsumedRecord, Subscription, TopicPartition
from chatledger.testing import START
from tests.support.backends import BACKENDS, Backend

DEADLINE_S = 20


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with request.param(request) as opened:
        yield opened


def numbered(numbers: Sequence[int]) -> list[Envelope]:
    """Events that tell their number, of five clients by turns."""
    return [
        from_outside(
            QuantityGiven(quantity=number),
            id=derive_id("contract", number),
            source="/chatledger/contract",
            conversation=conversation_id("order-form", "chat2desk", str(number % 5)),
            time=START,
        )
        for number in numbers
    ]


def number_of(record: ConsumedRecord) -> int:
    event = from_wire(record.headers, record.value).data
    assert isinstance(event, QuantityGiven)
    return event.quantity


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110  the subscription offers nothing to wait on
            await asyncio.sleep(0.02)


async def take(subscription: Subscription, count: int, positions: MemoryPositions) -> list[ConsumedRecord]:
    """Read until `count` records have come, save how far, and close."""
    records: list[ConsumedRecord] = []
    async with asyncio.timeout(DEADLINE_S):
        async for batch in subscription.batches():
            assert batch, "a batch has at least one record"
            records += batch
            positions.advance(batch)
            if len(records) >= count:
                await subscription.close()
    return records


async def test_without_positions_everything_is_read_from_the_beginning(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, numbered(range(100)))
    for _ in range(2):
        records = await take(await backend.subscribe([topic], MemoryPositions()), 100, MemoryPositions())
        assert sorted(map(number_of, records)) == list(range(100))
        for partition in {record.partition for record in records}:
            own = [record for record in records if record.partition == partition]
            assert [record.offset for record in own] == list(range(len(own)))
            assert [number_of(record) for record in own] == sorted(map(number_of, own))


async def test_reading_goes_on_where_the_positions_say(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    positions = MemoryPositions()
    await publisher.publish(topic, numbered(range(40)))
    first = await take(await backend.subscribe([topic], positions), 40, positions)
    await publisher.publish(topic, numbered(range(40, 60)))
    second = await take(await backend.subscribe([topic], positions), 20, positions)
    assert sorted(map(number_of, first)) == list(range(40))
    assert sorted(map(number_of, second)) == list(range(40, 60))


async def test_what_was_read_and_not_saved_is_read_again(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    positions = MemoryPositions()
    await publisher.publish(topic, numbered(range(30)))
    await take(await backend.subscribe([topic], positions), 30, MemoryPositions())
    again = await take(await backend.subscribe([topic], positions), 30, positions)
    assert sorted(map(number_of, again)) == list(range(30))


async def test_a_position_in_the_middle_of_a_partition_is_exact(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, numbered([0] * 10))
    all_of_it = await take(await backend.subscribe([topic], MemoryPositions()), 10, MemoryPositions())
    at = TopicPartition(topic, all_of_it[0].partition)
    rest = await take(await backend.subscribe([topic], MemoryPositions({at: 7})), 3, MemoryPositions())
    assert [record.offset for record in rest] == [7, 8, 9]


async def test_several_topics_are_read_together(backend: Backend) -> None:
    one, other, publisher = await backend.new_topic(), await backend.new_topic(), await backend.publisher()
    await publisher.publish(one, numbered(range(10)))
    await publisher.publish(other, numbered(range(10, 20)))
    records = await take(await backend.subscribe([one, other], MemoryPositions()), 20, MemoryPositions())
    assert {(record.topic, number_of(record)) for record in records} == {
        *((one, number) for number in range(10)),
        *((other, number) for number in range(10, 20)),
    }


async def test_a_waiting_reader_gets_what_comes_later(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    subscription = await backend.subscribe([topic], MemoryPositions())
    reading = asyncio.create_task(take(subscription, 10, MemoryPositions()))
    for number in range(10):
        await publisher.publish(topic, numbered([number]))
    assert sorted(map(number_of, await reading)) == list(range(10))


async def test_lag_is_what_was_not_handled_yet(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, numbered(range(10)))
    subscription = await backend.subscribe([topic], MemoryPositions())
    may_go_on, records = asyncio.Event(), list[ConsumedRecord]()

    async def read_slowly() -> None:
        async for batch in subscription.batches():
            records.extend(batch)
            await may_go_on.wait()

    async def lag() -> int:
        return sum((await subscription.lag()).values())

    async def all_is_waiting() -> bool:
        return await lag() == 20

    async def all_is_handled() -> bool:
        return len(records) == 20 and await lag() == 0

    reading = asyncio.create_task(read_slowly())
    await publisher.publish(topic, numbered(range(10, 20)))
    await until(all_is_waiting)
    may_go_on.set()
    await until(all_is_handled)
    assert {partition.topic for partition in await subscription.lag()} == {topic}
    assert len(await subscription.lag()) == 4
    await subscription.close()
    async with asyncio.timeout(DEADLINE_S):
        await reading


async def test_close_ends_a_reader_that_waits(backend: Backend) -> None:
    subscription = await backend.subscribe([await backend.new_topic()], MemoryPositions())
    reading = asyncio.create_task(take(subscription, 1, MemoryPositions()))
    await asyncio.sleep(0)
    await subscription.close()
    async with asyncio.timeout(DEADLINE_S):
        assert await reading == []
