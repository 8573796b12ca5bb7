"""A delivery, what came of a try, and the event that tells it. Pure: time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from chatledger.channels.base import Outcome
from chatledger.events.deliveries import MessageFailed, MessageSent
from chatledger.events.dialog import ReplyRequested
from chatledger.events.envelope import Envelope, caused_by
from chatledger_notify.schedule import RetrySchedule, next_attempt

SOURCE = "/chatledger/notify"
REASON_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message on its way to a client. Its id is that of the reply.requested event, `request`."""

    request: Envelope
    reply: ReplyRequested
    partition: int
    attempts: int = 0

    @property
    def id(self) -> str:
        """The delivery's id, and the idempotency key of every try."""
        return self.request.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a try. `at` is when; for sent and failed it is the time of the event."""

    delivery: Delivery
    status: Literal["waiting", "sent", "failed"]
    attempts: int
    at: datetime
    provider_message_id: str = ""
    reason: str = ""
    http_status: int | None = None
    next_attempt_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether the message will not be tried again."""
        return self.status != "waiting"


def result_of(
    delivery: Delivery,
    outcome: Outcome,
    *,
    http_status: int | None,
    at: datetime,
    schedule: RetrySchedule,
    jitter: float,
) -> Result:
    """Read a try's outcome: sent, failed, or waiting for the next try of the schedule."""
    attempts = delivery.attempts + 1
    # Postgres keeps no NUL in a text, and a provider may answer with anything.
    reason = outcome.reason.replace("\x00", "\ufffd")[:REASON_LENGTH_MAX]
    status: Literal["waiting", "sent", "failed"] = "waiting" if outcome.kind == "retry" else outcome.kind
    next_attempt_at = None
    if status == "waiting":
        pause_s = next_attempt(attempts, retry_after_s=outcome.retry_after_s, jitter=jitter, schedule=schedule)
        if pause_s is None:
            status, reason = "failed", f"given up after {attempts} tries: {reason}"
        else:
            next_attempt_at = at + timedelta(seconds=pause_s)
    return Result(
        delivery=delivery,
        status=status,
        attempts=attempts,
        at=at,
        provider_message_id=outcome.provider_message_id.replace("\x00", "\ufffd"),
        reason=reason,
        http_status=http_status,
        next_attempt_at=next_attempt_at,
    )


def outcome_event(result: Result) -> Envelope:
    """Return the event of a delivery that ended; the same result gives the same event, byte for byte."""
    delivery = result.delivery
    event: MessageSent | MessageFailed
    if result.status == "sent":
        event = MessageSent(
            delivery_id=delivery.id,
            channel=delivery.reply.channel,
            provider_message_id=result.provider_message_id,
            attempts=result.attempts,
        )
    else:
        event = MessageFailed(
            delivery_id=delivery.id,
            channel=delivery.reply.channel,
            reason=result.reason,
            status=result.http_status,
            attempts=result.attempts,
        )
    return caused_by(
        delivery.request,
        [event],
        source=SOURCE,
        stream=f"delivery-{delivery.id}",
        last_version=0,
        time=result.at,
    )[0]
