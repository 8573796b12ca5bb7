"""A provider that took a message and did not say so: its report, not a second try, tells that it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.deliveries import MessageDelivered, MessageFailed, MessageSent, MessageUndelivered
from chatledger.topics import DIALOG, INBOUND, NOTIFY
from chatledger_notify.schedule import RetrySchedule
from tests.support.notify import eventually, publishing, query, reading, report, whatsapp, worker
from tests.support.provider import ACCEPT_AND_HANG, RESET, Answer, ScriptedProvider, twilio_error

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CALLBACK = "https://shop.example/webhook/twilio/store"
ROWS = "SELECT status, attempts, next_attempt_at FROM notify.deliveries ORDER BY sequence"
TRIED = [("waiting", 1, NOW + timedelta(seconds=30))]
SECOND = timedelta(seconds=1)


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def line(broker, postgres_url, provider):
    return {
        "bootstrap_servers": broker,
        "database": postgres_url,
        "provider_url": provider.url,
        "callback_url": CALLBACK,
        "timeout_s": 0.2,
    }


@pytest.mark.parametrize("answer", [ACCEPT_AND_HANG, RESET, Answer(status=504)])
async def test_a_report_ends_it_as_sent_and_the_next_message_follows(line, postgres_url, provider, answer):
    provider.script("+1", answer)
    clock = ManualClock(NOW)
    first, second = whatsapp("+1", 1, time=NOW), whatsapp("+1", 2, time=NOW)
    async with (
        publishing(line["bootstrap_servers"]) as publisher,
        reading(line["bootstrap_servers"], NOTIFY) as outcomes,
        worker(**line, clock=clock),
    ):
        await publisher.publish(DIALOG, [first])
        await eventually(
            lambda: query(postgres_url, ROWS) == TRIED, "it may have been taken, and waits for half a minute"
        )
        assert first.id in provider.received[0].idempotency_key
        await publisher.publish(DIALOG, [second])
        told = report("+1", "delivered", message_id="SM-told", delivery_id=first.id, time=NOW + SECOND)
        await publisher.publish(INBOUND, [told])
        # Nobody has to wait for half a minute any more: the clock has not moved.
        await eventually(lambda: len(outcomes.envelopes) == 3, "both messages end")
        clock.advance(timedelta(days=1))
        await eventually(lambda: query(postgres_url, "SELECT count(*) FROM notify.statuses") == [(0,)], "all is told")
    assert provider.texts("+1") == ["1", "2"]
    sent, delivered = [event for event in outcomes.envelopes if event.stream == f"delivery-{first.id}"]
    assert sent.data == MessageSent(delivery_id=first.id, channel="twilio", provider_message_id="SM-told", attempts=1)
    assert (sent.time, sent.causation_id, sent.stream_version) == (NOW + SECOND, first.id, 1)
    assert isinstance(delivered.data, MessageDelivered)
    assert (delivered.causation_id, delivered.stream_version) == (told.id, 2)


async def test_without_a_report_it_is_tried_again_after_the_pause(line, postgres_url, provider):
    provider.script("+1", ACCEPT_AND_HANG)
    clock = ManualClock(NOW)
    async with publishing(line["bootstrap_servers"]) as publisher, worker(**line, clock=clock):
        await publisher.publish(DIALOG, [whatsapp("+1", 1, time=NOW)])
        await eventually(lambda: query(postgres_url, ROWS) == TRIED, "it waits")
        clock.advance(timedelta(seconds=30))
        await eventually(lambda: query(postgres_url, ROWS) == [("sent", 2, None)], "it is sent")
    assert len({message.idempotency_key for message in provider.received}) == 1


async def test_where_nobody_can_report_the_next_try_comes_soon(line, postgres_url, provider):
    provider.script("+1", RESET)
    async with publishing(line["bootstrap_servers"]) as publisher, worker(**{**line, "callback_url": ""}):
        await publisher.publish(DIALOG, [whatsapp("+1", 1)])
        await eventually(lambda: query(postgres_url, ROWS) == [("sent", 2, None)], "it is sent")


async def test_a_refused_connection_took_nothing_and_is_tried_again_soon(line, postgres_url, provider):
    down = {**line, "provider_url": "http://127.0.0.1:9"}
    clock = ManualClock(NOW)
    async with publishing(line["bootstrap_servers"]) as publisher, worker(**down, clock=clock):
        await publisher.publish(DIALOG, [whatsapp("+1", 1, time=NOW)])
        tried = "SELECT count(*) FROM notify.deliveries WHERE attempts = 1 AND next_attempt_at < %s"
        soon = tried.replace("%s", f"'{(NOW + SECOND).isoformat()}'")
        await eventually(lambda: query(postgres_url, soon) == [(1,)], "the quick schedule counts")


@pytest.mark.parametrize("answer", [Answer(delay_s=1.0), Answer(delay_s=1.0, status=503), twilio_error(63016)])
async def test_a_report_that_overtakes_the_answer_counts_whatever_the_answer_says(line, postgres_url, provider, answer):
    late = Answer(status=answer.status, body=answer.body, delay_s=1.0)
    provider.script("+1", late)
    first, second = whatsapp("+1", 1), whatsapp("+1", 2)
    async with (
        publishing(line["bootstrap_servers"]) as publisher,
        reading(line["bootstrap_servers"], NOTIFY) as outcomes,
        worker(**{**line, "timeout_s": 10.0}),
    ):
        await publisher.publish(DIALOG, [first, second])
        await eventually(lambda: provider.received, "the request is there, and no answer yet")
        await publisher.publish(INBOUND, [report("+1", "sent", message_id="SM-told", delivery_id=first.id)])
        ended = "SELECT status, attempts FROM notify.deliveries ORDER BY sequence LIMIT 1"
        await eventually(lambda: query(postgres_url, ended) == [("sent", 1)], "the report ends it")
        await eventually(lambda: len(outcomes.envelopes) == 2, "the answer changes nothing, and the next one follows")
    assert provider.texts("+1") == ["1", "2"]
    assert [type(event.data) for event in outcomes.envelopes] == [MessageSent, MessageSent]


async def test_a_report_of_failure_for_a_message_that_waits_is_no_reason_to_send_it_again(line, postgres_url, provider):
    provider.script("+1", ACCEPT_AND_HANG)
    request = whatsapp("+1", 1, time=NOW)
    clock = ManualClock(NOW)
    async with (
        publishing(line["bootstrap_servers"]) as publisher,
        reading(line["bootstrap_servers"], NOTIFY) as outcomes,
        worker(**line, clock=clock),
    ):
        await publisher.publish(DIALOG, [request])
        await eventually(lambda: query(postgres_url, ROWS) == TRIED, "it waits")
        failed = report("+1", "failed", message_id="SM1", delivery_id=request.id, error="63024: not a user")
        await publisher.publish(INBOUND, [failed])
        await eventually(lambda: len(outcomes.envelopes) == 2, "it has ended")
        clock.advance(timedelta(days=1))
    assert provider.texts("+1") == ["1"]
    undelivered = outcomes.envelopes[1].data
    assert isinstance(undelivered, MessageUndelivered)
    assert undelivered.reason == "63024: not a user"


async def test_a_message_that_was_given_up_may_still_turn_out_to_have_arrived(line, postgres_url, provider):
    provider.script("+1", ACCEPT_AND_HANG)
    request = whatsapp("+1", 1, time=NOW)
    never = RetrySchedule(quick_s=(), slow_s=())
    async with (
        publishing(line["bootstrap_servers"]) as publisher,
        reading(line["bootstrap_servers"], NOTIFY) as outcomes,
        worker(**line, clock=ManualClock(NOW), schedule=never),
    ):
        await publisher.publish(DIALOG, [request])
        await eventually(lambda: outcomes.envelopes, "it has failed")
        await publisher.publish(INBOUND, [report("+1", "read", message_id="SM1", delivery_id=request.id)])
        await eventually(lambda: len(outcomes.envelopes) == 2, "it was read")
    assert [type(event.data).__name__ for event in outcomes.envelopes] == [MessageFailed.__name__, "MessageRead"]
    assert [event.stream_version for event in outcomes.envelopes] == [1, 2]
