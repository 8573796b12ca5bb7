"""Timers through the whole service: set, replaced, fired once, fired after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher
from chatledger.errors import ProducerBroken
from chatledger.events.dialog import TimerRequested
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inbound import TimerFired
from chatledger.topics import DIALOG, INBOUND
from chatledger_notify.timers import DueTimer, TimerService
from tests.support.notify import dialog_event, eventually, publishing, query, reading, reply, worker

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOWHERE = "http://127.0.0.1:9"
SET = "SELECT due, version FROM notify.timers"


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


def timer(client: str, number: int, due: datetime, kind: str = "expiry") -> Envelope:
    return dialog_event(TimerRequested(kind=kind, due=due), number=number, client=client, time=NOW)


async def test_a_timer_fires_once_when_it_is_due_and_is_forgotten(broker, postgres_url):
    clock = ManualClock(NOW)
    requested = timer("77", 3, NOW + timedelta(hours=24))
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": NOWHERE, "clock": clock}
    async with publishing(broker) as publisher, reading(broker, INBOUND) as inbound, worker(**line) as service:
        await publisher.publish(DIALOG, [requested])
        await eventually(lambda: query(postgres_url, SET), "the timer is set")
        clock.advance(timedelta(hours=25))
        service.timers.wake()
        await eventually(lambda: query(postgres_url, SET) == [], "the timer is gone")
        await eventually(lambda: inbound.envelopes, "it fired")
    (fired,) = inbound.envelopes
    assert fired.data == TimerFired(timer_id=requested.id, kind="expiry", due=NOW + timedelta(hours=24))
    assert (fired.id, fired.time) == (derive_id(requested.id, "fired"), NOW + timedelta(hours=25))
    assert (fired.stream, fired.stream_version) == (requested.stream, None)
    assert (fired.causation_id, fired.correlation_id) == (requested.id, requested.correlation_id)


async def test_a_newer_request_replaces_an_older_one_and_kinds_stand_beside_each_other(broker, postgres_url):
    clock = ManualClock(NOW)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": NOWHERE, "clock": clock}
    first, other = timer("77", 3, NOW + timedelta(hours=1)), timer("77", 4, NOW + timedelta(hours=2), kind="other")
    last_due = NOW + timedelta(hours=3)
    second = timer("77", 7, last_due)
    async with publishing(broker) as publisher, reading(broker, INBOUND) as inbound, worker(**line) as service:
        await publisher.publish(DIALOG, [first, other])
        await eventually(lambda: len(query(postgres_url, SET)) == 2, "two are set")
        await publisher.publish(DIALOG, [second])
        await eventually(lambda: (last_due, 7) in query(postgres_url, SET), "the first is replaced")
        clock.advance(timedelta(days=2))
        service.timers.wake()
        await eventually(lambda: len(inbound.envelopes) == 2, "two fire")
        await eventually(lambda: query(postgres_url, SET) == [], "none is left")
    assert [envelope.causation_id for envelope in inbound.envelopes] == [other.id, second.id]


@pytest.mark.slow
async def test_a_timer_that_fired_before_a_kill_fires_again_as_the_same_event(broker, postgres_url):
    clock = ManualClock(NOW)
    requested = timer("77", 3, NOW + timedelta(hours=1))
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": NOWHERE}
    async with publishing(broker) as publisher, reading(broker, INBOUND) as inbound:
        async with worker(**line, clock=clock):
            await publisher.publish(DIALOG, [requested])
            await eventually(lambda: query(postgres_url, SET), "the timer is set")
        fired_at = NOW + timedelta(hours=2)
        # What a process leaves that is killed after the publication and before the row is deleted.
        query(postgres_url, f"UPDATE notify.timers SET fired_at = '{fired_at.isoformat()}' RETURNING 1")
        clock.advance(timedelta(days=3))
        async with worker(**line, clock=clock):
            await eventually(lambda: inbound.envelopes, "it fires")
            await eventually(lambda: query(postgres_url, SET) == [], "and is forgotten")
    assert [envelope.time for envelope in inbound.envelopes] == [fired_at]


async def test_timers_do_not_wait_for_a_provider_that_is_away(broker, postgres_url):
    clock = ManualClock(NOW)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": NOWHERE, "clock": clock}
    async with publishing(broker) as publisher, reading(broker, INBOUND) as inbound, worker(**line):
        await publisher.publish(DIALOG, [reply("77", 1), timer("77", 2, NOW - timedelta(seconds=1))])
        await eventually(lambda: inbound.envelopes, "a timer in the past fires at once")
    assert inbound.envelopes[0].time == NOW


DUE = DueTimer(
    conversation="order-form/chat2desk/77",
    kind="expiry",
    due=NOW,
    timer_id="timer",
    correlation_id="webhook",
    traceparent=None,
    fired_at=NOW,
)


async def test_a_producer_that_lost_its_sequence_ends_the_service_and_is_not_asked_for_ever():
    class LostProducer:
        async def send(self, *_, **__):
            raise OutOfOrderSequenceNumber

    class OneTimer:
        async def claim_timers(self, partitions, now):
            return [DUE]

        async def delete_timers(self, fired):
            raise AssertionError("it was not published")

        async def next_timer(self, partitions):
            return NOW

    publisher = KafkaPublisher(LostProducer())
    timers = TimerService(store=OneTimer(), publisher=publisher, clock=ManualClock(NOW), owned=lambda: [0])
    with pytest.raises(ProducerBroken):
        await asyncio.wait_for(timers.run(), 5)
