"""While a provider is down nobody calls it, and every message waits; when it is back each goes out once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.dialog import TimerRequested
from chatledger.topics import DIALOG, INBOUND, NOTIFY
from chatledger_notify.deliveries import Delivery
from chatledger_notify.queues import Client, ClientQueues
from chatledger_notify.schedule import RetrySchedule, SendingLimits
from tests.support.notify import dialog_event, eventually, publishing, query, reading, reply, whatsapp, worker
from tests.support.provider import RESET, Answer, ScriptedProvider, twilio_error

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOWN = Answer(status=503)
WELL = Answer()
STATE = "SELECT name, state, failures FROM notify.breakers ORDER BY name"
UNSENT = "SELECT count(*) FROM notify.deliveries WHERE status <> 'sent'"


@dataclass
class Seconds:
    """A monotonic clock that stands still until it is moved."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.mark.slow
async def test_hundreds_of_clients_wait_and_are_sent_to_once_in_order_when_the_provider_is_back(
    broker, postgres_url, provider
):
    clients = [str(10_000 + number) for number in range(300)]
    requests = [reply(client, number) for number in range(1, 6) for client in clients]
    provider.otherwise = DOWN
    seconds = Seconds()
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with (
        publishing(broker) as publisher,
        reading(broker, NOTIFY) as outcomes,
        reading(broker, INBOUND) as inbound,
        worker(**line, monotonic=seconds) as service,
    ):
        await publisher.publish(DIALOG, requests[:600])
        open_now = ("order-form/chat2desk", "open", 5)
        await eventually(lambda: open_now in query(postgres_url, STATE), "the breaker is open, and the table says so")
        # What was on its way when the fifth failed may still come; then nothing does, whatever is asked for.
        await publisher.publish(DIALOG, requests[600:])
        timer = TimerRequested(kind="expiry", due=datetime.now(UTC))
        await publisher.publish(DIALOG, [dialog_event(timer, number=9, client="x")])
        stored = "SELECT count(*) FROM notify.deliveries"
        await eventually(lambda: query(postgres_url, stored) == [(1500,)], "all are taken in")
        await eventually(lambda: inbound.envelopes, "and a timer fires as always")
        before = len(provider.received)
        assert 5 <= before <= 5 + 64

        # The provider is still down when the pause is over: one message finds out, and the next pause begins.
        seconds.now += 30
        await eventually(lambda: len(provider.received) == before + 1, "one probes")
        await eventually(lambda: service.board.breakers["order-form", "chat2desk"].state == "open", "it is open again")

        provider.otherwise = WELL
        seconds.now += 30
        await eventually(lambda: len(outcomes.envelopes) == 1500, "all are sent")
        await eventually(lambda: query(postgres_url, UNSENT) == [(0,)], "and recorded")
        closed = ("order-form/chat2desk", "closed", 0)
        await eventually(lambda: closed in query(postgres_url, STATE), "the breaker is closed")
    after = provider.received[before + 1 :]
    for client in clients:
        assert [message.text for message in after if message.client_id == client] == ["1", "2", "3", "4", "5"]
    # A try that was not made was not counted.
    assert query(postgres_url, "SELECT sum(attempts) FROM notify.deliveries") == [(len(provider.received),)]
    assert len({outcome.id for outcome in outcomes.envelopes}) == len(outcomes.envelopes)


async def test_a_client_whose_tries_failed_goes_once_the_provider_is_back_for_good(broker, postgres_url, provider):
    """Not only when its slow pause is over: the breaker knows better."""
    provider.otherwise = RESET
    seconds, clock = Seconds(), ManualClock(NOW)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    slow = SendingLimits(schedule=RetrySchedule(quick_s=(600.0,), slow_s=(600.0,)))
    requests = [reply(str(number), 1) for number in range(5)]
    async with publishing(broker) as publisher, worker(**line, monotonic=seconds, clock=clock, limits=slow) as service:
        await publisher.publish(DIALOG, requests)
        waiting = "SELECT count(*) FROM notify.deliveries WHERE attempts = 1 AND next_attempt_at IS NOT NULL"
        await eventually(lambda: query(postgres_url, waiting) == [(5,)], "five tries fail")
        provider.otherwise = WELL
        seconds.now += 30
        await publisher.publish(DIALOG, [reply("6", 1)])
        await eventually(lambda: query(postgres_url, UNSENT) == [(5,)], "the sixth probes, and is sent")
        await eventually(lambda: service.board.breakers["order-form", "chat2desk"].state == "closed", "it is closed")
        assert len(provider.received) == 6
        await publisher.publish(DIALOG, [reply("7", 1)])
        await eventually(lambda: query(postgres_url, UNSENT) == [(5,)], "others are sent to as ever")
        seconds.now += 30
        await eventually(lambda: query(postgres_url, UNSENT) == [(0,)], "it has stayed closed, and all are sent")
    assert len(provider.received) == 5 + 7


async def test_other_accounts_are_not_held_up(broker, postgres_url, provider):
    seconds = Seconds()
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    for number in range(8):
        provider.script(f"+{number}", *[DOWN] * 20)
    async with publishing(broker) as publisher, worker(**line, monotonic=seconds):
        await publisher.publish(DIALOG, [whatsapp(f"+{number}", 1) for number in range(8)])
        await eventually(lambda: ("store/twilio", "open", 5) in query(postgres_url, STATE), "Twilio's breaker opens")
        await publisher.publish(DIALOG, [reply("77", number) for number in (1, 2, 3)])
        await eventually(lambda: len(provider.texts("77")) == 3, "the other provider is sent to")
        await eventually(lambda: ("order-form/chat2desk", "closed", 0) in query(postgres_url, STATE), "it is closed")


@pytest.mark.parametrize(
    "answer", [Answer(status=429, headers={"Retry-After": "0"}), twilio_error(63016), Answer(status=404)]
)
async def test_what_a_healthy_provider_refuses_does_not_open_the_breaker(broker, postgres_url, provider, answer):
    clients = [f"+{number}" for number in range(12)]
    for client in clients:
        provider.script(client, answer)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, worker(**line) as service:
        await publisher.publish(DIALOG, [whatsapp(client, number) for number in (1, 2) for client in clients])
        waiting = "SELECT count(*) FROM notify.deliveries WHERE status = 'waiting'"
        await eventually(lambda: len(provider.received) >= 24, "everything is tried")
        await eventually(lambda: query(postgres_url, waiting) == [(0,)], "and has ended")
        breaker = service.board.breakers["store", "twilio"]
        assert (breaker.state, breaker.failures) == ("closed", 0)
    if answer.body:
        reasons = "SELECT DISTINCT reason FROM notify.deliveries WHERE status = 'failed'"
        assert [row[0][:6] for row in query(postgres_url, reasons)] == ["63016:"]


async def test_what_waits_for_a_breaker_survives_a_restart(broker, postgres_url, provider):
    provider.otherwise = DOWN
    clients = [str(number) for number in range(20)]
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    long = SendingLimits(schedule=RetrySchedule(quick_s=(0.05,) * 20))
    async with publishing(broker) as publisher:
        await publisher.publish(DIALOG, [reply(client, number) for number in (1, 2) for client in clients])
        async with worker(**line, limits=long, group="first"):
            await eventually(lambda: ("order-form/chat2desk", "open", 5) in query(postgres_url, STATE), "it is open")
        provider.otherwise = WELL
        begun = len(provider.received)
        async with worker(**line, group="second"):
            await eventually(lambda: query(postgres_url, UNSENT) == [(0,)], "all are sent")
    for client in clients:
        assert [m.text for m in provider.received[begun:] if m.client_id == client] == ["1", "2"]


def delivery_to(client: str, number: int = 1) -> Delivery:
    request = reply(client, number)
    return Delivery(request=request, reply=request.data, partition=0)  # type: ignore[arg-type]  # it is what reply makes


def test_a_client_that_waits_for_a_breaker_holds_nothing_in_memory_and_keeps_its_turn():
    ready: list[Client] = []
    queues = ClientQueues(ready.append)
    queues.own(0)
    account = ("order-form", "chat2desk")
    for name in ("1", "2", "3"):
        queues.offer(delivery_to(name), NOW)
    for client in list(ready):
        assert queues.start(client) is not None
        queues.wait_for(client, account)
        assert not client.messages
    queues.offer(delivery_to("2", 2), NOW)
    assert len(ready) == 3
    assert queues.due(NOW + timedelta(days=365), limit=10) == []
    queues.let_one_go(account)
    assert [client.conversation[-1] for client in queues.due(NOW, limit=10)] == ["1"]
    queues.let_waiting_go(account)
    assert [client.conversation[-1] for client in queues.due(NOW, limit=10)] == ["2", "3"]
    assert queues.waited_for() == frozenset()
    queues.let_one_go(account)
