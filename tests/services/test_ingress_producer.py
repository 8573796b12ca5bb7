"""The publisher that replaces its producer: after an error that is for good, and when it is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import start_producer
from chatledger.errors import BrokerUnavailable
from chatledger.events.envelope import Envelope, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import WebhookNoted
from chatledger_ingress.producer import RenewingPublisher
from tests.services.ingress_app import NOW
from tests.services.ingress_process import stored_ids


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


class Producers:
    """Makes real producers and keeps them, so that a test can break one."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.made: list[AIOKafkaProducer] = []

    async def __call__(self) -> AIOKafkaProducer:
        self.made.append(await start_producer(self.bootstrap_servers))
        return self.made[-1]


@pytest.fixture
def producers(broker: EmbeddedBroker) -> Producers:
    return Producers(broker.bootstrap_servers)


@pytest.fixture
async def publisher(producers: Producers) -> AsyncIterator[RenewingPublisher]:
    started = RenewingPublisher(producers, timeout_s=0.3, stuck_after_s=0.3)
    await started.start()
    yield started
    await started.stop()


def noted(number: int) -> Envelope:
    event = WebhookNoted(channel="chat2desk", client_id="1", provider_message_id=str(number), kind="outbox", raw={})
    id_ = derive_id("test", number)
    return from_outside(event, id=id_, source="/test", conversation="p/chat2desk/1", time=NOW)


async def published_in_the_end(publisher: RenewingPublisher, envelope: Envelope) -> int:
    """Publish until it succeeds; return how often it was refused."""
    deadline = time.monotonic() + 20
    refusals = 0
    while True:
        try:
            await publisher.publish("chat.inbound", [envelope])
        except BrokerUnavailable:
            refusals += 1
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            return refusals


async def test_a_producer_that_fails_for_good_is_replaced(publisher, producers):
    await publisher.publish("chat.inbound", [noted(1)])
    producers.made[0]._message_accumulator.fail_all(KafkaError("out of sequence"))

    refusals = await published_in_the_end(publisher, noted(2))

    assert refusals >= 1
    assert len(producers.made) == 2
    assert {noted(1).id, noted(2).id} <= set(await stored_ids(producers.bootstrap_servers))


async def test_a_producer_that_is_stuck_is_replaced(publisher, producers, monkeypatch):
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(producers.made[0], "send", hangs)

    refusals = await published_in_the_end(publisher, noted(3))

    assert refusals >= 1
    assert len(producers.made) == 2


async def test_a_refusal_comes_within_the_time(publisher, producers, monkeypatch):
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(producers.made[0], "send", hangs)
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable):
        await publisher.publish("chat.inbound", [noted(4)])

    assert time.monotonic() - began < 1.0


async def test_a_check_fails_while_no_broker_answers():
    publisher = RenewingPublisher(lambda: start_producer("127.0.0.1:1"))
    await publisher.start()
    try:
        with pytest.raises(BrokerUnavailable):
            await publisher.check()
        with pytest.raises(BrokerUnavailable):
            await publisher.publish("chat.inbound", [noted(5)])
    finally:
        await publisher.stop()


async def test_what_was_taken_is_flushed_by_stop(producers):
    publisher = RenewingPublisher(producers)
    await publisher.start()
    await publisher.publish("chat.inbound", [noted(9)])
    pending = [asyncio.create_task(publisher.publish("chat.inbound", [noted(number)])) for number in range(10, 30)]
    await asyncio.sleep(0)

    await publisher.stop()

    await asyncio.gather(*pending)
    assert {noted(number).id for number in range(10, 30)} <= set(await stored_ids(producers.bootstrap_servers))
