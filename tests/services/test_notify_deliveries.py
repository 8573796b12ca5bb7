"""Deliveries through the whole service: embedded broker, real Postgres, the provider over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.deliveries import MessageFailed, MessageSent
from chatledger.events.letters import RecordDeadLettered
from chatledger.topics import DEAD, DIALOG, NOTIFY
from chatledger_notify.schedule import RetrySchedule
from tests.support.notify import TOKEN, eventually, publishing, query, reading, reply, worker
from tests.support.provider import HANG, RESET, Answer, ScriptedProvider

pytestmark = pytest.mark.postgres


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


async def test_every_reply_is_sent_once_in_order_of_each_client(broker, postgres_url, provider):
    clients = [str(1_000 + number) for number in range(30)]
    requests = [reply(client, number) for number in range(1, 9) for client in clients]
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, reading(broker, NOTIFY) as outcomes, worker(**line):
        await publisher.publish(DIALOG, requests)
        await eventually(lambda: len(outcomes.envelopes) == len(requests), "every outcome is published")
    for client in clients:
        assert provider.texts(client) == [str(number) for number in range(1, 9)]
    keys = {message.idempotency_key for message in provider.received}
    assert keys == {request.id for request in requests}
    assert {message.authorization for message in provider.received} == {TOKEN}
    assert {outcome.causation_id for outcome in outcomes.envelopes} == keys
    # What was written to a client is not kept longer than it is needed.
    assert query(postgres_url, "SELECT DISTINCT status, published_at IS NULL, reply FROM notify.deliveries") == [
        ("sent", False, "")
    ]


async def test_a_client_waits_behind_its_failing_message_and_others_do_not(broker, postgres_url, provider):
    provider.script("11", Answer(status=500), RESET, Answer(status=503), Answer(status=408), Answer(status=425))
    requests = [reply(client, number) for number in (1, 2) for client in ("11", "12")]
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, reading(broker, NOTIFY) as outcomes, worker(**line):
        await publisher.publish(DIALOG, requests)
        await eventually(lambda: len(outcomes.envelopes) == 4, "all four end")
    assert provider.texts("11") == ["1"] * 6 + ["2"]
    others = [message.arrived_at for message in provider.received if message.client_id == "12"]
    assert max(others) < next(m.arrived_at for m in provider.received if m.text == "2" and m.client_id == "11")
    assert len({m.idempotency_key for m in provider.received if m.client_id == "11" and m.text == "1"}) == 1
    tries: dict[str, list[int]] = {outcome.conversation[-2:]: [] for outcome in outcomes.envelopes}
    for outcome in outcomes.envelopes:
        assert isinstance(outcome.data, MessageSent)
        tries[outcome.conversation[-2:]].append(outcome.data.attempts)
    assert tries == {"11": [6, 1], "12": [1, 1]}


async def test_a_refusal_is_final_and_a_provider_that_never_answers_is_given_up(broker, postgres_url, provider):
    provider.script("21", Answer(status=404))
    provider.script("22", *[HANG] * 3)
    provider.script("23", Answer(body=b'{"status":"error","message":"blocked"}'))
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    short = RetrySchedule(quick_s=(0.02,), slow_s=(0.05,))
    requests = [reply(client, number) for client in ("21", "22", "23") for number in (1, 2)]
    async with (
        publishing(broker) as publisher,
        reading(broker, NOTIFY) as outcomes,
        worker(**line, schedule=short, timeout_s=0.2),
    ):
        await publisher.publish(DIALOG, requests)
        await eventually(lambda: len(outcomes.envelopes) == 6, "all six end")
    failed = {o.conversation[-2:]: o.data for o in outcomes.envelopes if isinstance(o.data, MessageFailed)}
    assert {client: (event.status, event.attempts) for client, event in failed.items()} == {
        "21": (404, 1),
        "22": (None, 3),
        "23": (200, 1),
    }
    assert [provider.texts(client)[-1] for client in ("21", "22", "23")] == ["2", "2", "2"]


async def test_a_provider_that_asks_for_a_pause_gets_it(broker, postgres_url, provider):
    provider.script("31", Answer(status=429, headers={"Retry-After": "1"}))
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, worker(**line):
        await publisher.publish(DIALOG, [reply("31", 1), reply("32", 1)])
        await eventually(lambda: len(provider.texts("31")) == 2, "it is tried again")
    first, second = [message.arrived_at for message in provider.received if message.client_id == "31"]
    assert 1.0 <= second - first < 1.6


async def test_more_than_memory_holds_for_one_client_still_goes_in_order(broker, postgres_url, provider):
    provider.script("41", Answer(delay_s=0.3))
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, worker(**line):
        await publisher.publish(DIALOG, [reply("41", number) for number in range(1, 71)])
        await eventually(lambda: len(provider.texts("41")) == 70, "all seventy are sent")
    assert provider.texts("41") == [str(number) for number in range(1, 71)]


@pytest.mark.slow
async def test_a_restart_in_the_middle_sends_what_is_left_and_nothing_twice(broker, postgres_url, provider):
    clients = [str(5_000 + number) for number in range(20)]
    requests = [reply(client, number) for number in range(1, 16) for client in clients]
    for client in clients:
        provider.script(client, *[Answer(delay_s=0.05)] * 15)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, reading(broker, NOTIFY) as outcomes:
        await publisher.publish(DIALOG, requests)
        async with worker(**line):
            await eventually(lambda: len(provider.received) > 40, "it has begun")
        half = len(provider.received)
        async with worker(**line):
            await eventually(lambda: len(outcomes.envelopes) >= len(requests), "the rest follows")
    assert half < len(requests) == len(provider.received)
    for client in clients:
        assert provider.texts(client) == [str(number) for number in range(1, 16)]
    assert len({outcome.id for outcome in outcomes.envelopes}) == len(outcomes.envelopes) == len(requests)


async def test_what_waits_is_sent_in_the_next_life_of_the_broker(broker, postgres_url, provider):
    provider.script("61", Answer(status=500))
    later = RetrySchedule(quick_s=(0.5,))
    with EmbeddedBroker() as first:
        line = {"bootstrap_servers": first.bootstrap_servers, "database": postgres_url, "provider_url": provider.url}
        async with publishing(first.bootstrap_servers) as publisher, worker(**line, schedule=later, incarnation="one"):
            await publisher.publish(DIALOG, [reply("61", 1), reply("61", 2)])
            waiting = "SELECT count(*) FROM notify.deliveries WHERE attempts = 1"
            await eventually(lambda: query(postgres_url, waiting) == [(1,)], "the first try failed")
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, worker(**line, incarnation="two"):
        await publisher.publish(DIALOG, [reply("61", 1), reply("61", 3)])
        await eventually(lambda: len(provider.texts("61")) == 4, "the rest is sent")
    assert provider.texts("61") == ["1", "1", "2", "3"]


async def test_what_cannot_be_sent_is_a_dead_letter_and_the_next_one_is_sent(broker, postgres_url, provider):
    strange = reply("71", 1)
    headers = (("ce_id", b"x"), ("ce_type", b"reply.requested"))
    unknown = reply("72", 1)
    unknown = type(unknown)(
        **{name: getattr(unknown, name) for name in unknown.__slots__ if name != "conversation"},
        conversation="nobody/chat2desk/72",
    )
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, reading(broker, DEAD) as dead, worker(**line):
        key = strange.conversation.encode()
        await publisher.publish_raw(DIALOG, [(key, b"{", headers), (key, b"\xff", ())])
        await publisher.publish(DIALOG, [unknown, strange])
        await eventually(lambda: len(dead.envelopes) == 3, "three dead letters")
        await eventually(lambda: provider.texts("71") == ["1"], "the good one is sent")
    reasons = sorted(letter.data.reason for letter in dead.envelopes if isinstance(letter.data, RecordDeadLettered))
    assert reasons[0] == "header ce_dataschema is missing"
    assert "no project 'nobody'" in reasons[2]
