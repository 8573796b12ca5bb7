"""What every Publisher keeps, whatever the broker: order per key, whole records, and a refusal in bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from chatledger.adapters.memory import MemoryPositions
from chatledger.errors import BrokerUnavailable
from chatledger.events import Envelope
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.dialog import QuantityGiven
from chatledger.events.envelope import conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.ports import ConsumedRecord
from chatledger.testing import START
from tests.support.backends import BACKENDS, Backend

DEADLINE_S = 20


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with request.param(request) as opened:
        yield opened


def said(client: int, number: int) -> Envelope:
    """The `number`th thing that one client led to."""
    return from_outside(
        QuantityGiven(quantity=number),
        id=derive_id("contract", client, number),
        source="/chatledger/contract",
        conversation=conversation_id("order-form", "chat2desk", str(client)),
        time=START,
    )


async def read_all(backend: Backend, topic: str, count: int) -> list[ConsumedRecord]:
    """Read a topic from the beginning until `count` records have come."""
    subscription = await backend.subscribe([topic], MemoryPositions())
    records: list[ConsumedRecord] = []
    async with asyncio.timeout(DEADLINE_S):
        async for batch in subscription.batches():
            records += batch
            if len(records) >= count:
                break
    await subscription.close()
    return records


async def test_records_of_one_conversation_keep_their_order_on_one_partition(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    for round_number in range(5):
        numbers = range(round_number * 10, round_number * 10 + 10)
        await publisher.publish(topic, [said(client, number) for number in numbers for client in range(6)])
    records = await read_all(backend, topic, 300)
    assert len(records) == 300
    for client in range(6):
        own = [record for record in records if record.key == said(client, 0).conversation.encode()]
        assert [from_wire(record.headers, record.value) for record in own] == [said(client, n) for n in range(50)]
        assert len({record.partition for record in own}) == 1
        assert [record.offset for record in own] == sorted(record.offset for record in own)
    assert len({record.partition for record in records}) > 1


async def test_a_key_goes_to_the_partition_that_every_kafka_client_would_choose(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, [said(client, 1) for client in range(1, 9)])
    records = await read_all(backend, topic, 8)
    partitions = {(record.key or b"").decode().rpartition("/")[2]: record.partition for record in records}
    assert partitions == PARTITION_OF_CLIENT


async def test_key_value_and_headers_arrive_as_they_were(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    envelope = said(1, 1)
    await publisher.publish(topic, [envelope])
    [record] = await read_all(backend, topic, 1)
    wire = to_wire(envelope)
    assert (record.topic, record.offset) == (topic, 0)
    assert (record.key, record.value, record.headers) == (wire.key, wire.value, wire.headers)


async def test_publishing_nothing_is_fine(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, [])


async def test_many_may_publish_at_once(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await asyncio.gather(*(publisher.publish(topic, [said(client, 1), said(client, 2)]) for client in range(100)))
    records = await read_all(backend, topic, 200)
    assert {from_wire(record.headers, record.value).id for record in records} == {
        said(client, number).id for client in range(100) for number in (1, 2)
    }


async def test_without_a_broker_the_refusal_comes_in_bounded_time(backend: Backend) -> None:
    topic, publisher = await backend.new_topic(), await backend.publisher()
    await publisher.publish(topic, [said(1, 1)])
    await backend.lose_broker()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=topic):
            await publisher.publish(topic, [said(1, 2), said(2, 2)])
        assert time.monotonic() - began < backend.publish_timeout_s + 1


PARTITION_OF_CLIENT = {"1": 1, "2": 0, "3": 1, "4": 2, "5": 2, "6": 0, "7": 2, "8": 1}
