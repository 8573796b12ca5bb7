"""When a message is tried again, and what a try's outcome means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatledger.channels.base import Outcome
from chatledger.events.deliveries import MessageFailed, MessageSent
from chatledger.events.dialog import ReplyRequested
from chatledger_notify.deliveries import Delivery, outcome_event, result_of
from chatledger_notify.schedule import RetrySchedule, next_attempt
from tests.support.notify import reply

SCHEDULE = RetrySchedule()
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def delivery(attempts: int = 0) -> Delivery:
    request = reply("77", 1)
    assert isinstance(request.data, ReplyRequested)
    return Delivery(request=request, reply=request.data, partition=0, attempts=attempts)


def result(outcome: Outcome, *, attempts: int = 0, status: int | None = None):
    return result_of(delivery(attempts), outcome, http_status=status, at=NOW, schedule=SCHEDULE, jitter=0.0)


def test_three_quick_tries_then_the_slow_schedule_then_never():
    pauses = [next_attempt(tries, retry_after_s=None, jitter=0.0, schedule=SCHEDULE) for tries in range(1, 11)]
    assert pauses == [1, 2, 4, 60, 300, 1_800, 7_200, 21_600, 86_400, None]


@pytest.mark.parametrize(("jitter", "pause_s"), [(-1.0, 1.6), (0.0, 2.0), (1.0, 2.4)])
def test_jitter_moves_a_pause_by_a_fifth(jitter, pause_s):
    assert next_attempt(2, retry_after_s=None, jitter=jitter, schedule=SCHEDULE) == pytest.approx(pause_s)


def test_the_provider_may_ask_for_a_longer_pause_but_not_for_a_shorter_one():
    assert next_attempt(1, retry_after_s=30.0, jitter=-1.0, schedule=SCHEDULE) == 30.0
    assert next_attempt(4, retry_after_s=1.0, jitter=0.0, schedule=SCHEDULE) == 60.0


def test_a_try_that_may_be_repeated_waits():
    waiting = result(Outcome(kind="retry", reason="HTTP 503"), attempts=1, status=503)
    assert (waiting.status, waiting.attempts, waiting.ended) == ("waiting", 2, False)
    assert waiting.next_attempt_at == NOW + timedelta(seconds=2)


def test_the_last_try_that_fails_ends_the_delivery():
    given_up = result(Outcome(kind="retry", reason="HTTP 503"), attempts=9, status=503)
    event = outcome_event(given_up)
    assert isinstance(event.data, MessageFailed)
    assert (event.data.attempts, event.data.status) == (10, 503)
    assert "given up after 10 tries" in event.data.reason


def test_the_event_of_an_outcome_is_the_first_of_its_stream_and_caused_by_the_request():
    sent = result(Outcome(kind="sent", provider_message_id="9"))
    event, request = outcome_event(sent), sent.delivery.request
    assert event == outcome_event(sent)
    assert (event.stream, event.stream_version, event.time) == (f"delivery-{request.id}", 1, NOW)
    assert (event.causation_id, event.correlation_id) == (request.id, request.correlation_id)
    assert event.data == MessageSent(delivery_id=request.id, channel="chat2desk", provider_message_id="9", attempts=1)


def test_a_reason_that_postgres_could_not_keep_is_cleaned():
    assert result(Outcome(kind="failed", reason="no\x00" + "x" * 1_000)).reason == "no\ufffd" + "x" * 497
