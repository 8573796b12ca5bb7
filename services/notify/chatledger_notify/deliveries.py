"""A delivery, what came of a try, and the event that tells it. Pure: time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from chatledger.channels.base import Outcome
from chatledger.events.base import Event
from chatledger.events.deliveries import MessageBlocked, MessageFailed, MessageSent
from chatledger.events.dialog import ReplyRequested
from chatledger.events.envelope import Envelope, caused_by, project_of
from chatledger_notify.schedule import RetrySchedule, next_attempt

SOURCE = "/chatledger/notify"
REASON_LENGTH_MAX = 500

Status = Literal["waiting", "sent", "failed", "blocked"]
Account = tuple[str, str]
"""A project and one of its channels: who sends, and whom a breaker guards."""


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

    @property
    def account(self) -> Account:
        """The project, and which of its channels sends the message."""
        return project_of(self.request.conversation), self.reply.channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a try. `at` is when; where the delivery has ended it is the time of the event.

    `provider_down` where the try failed because the provider is in trouble, and it may be repeated once that is over.
    """

    delivery: Delivery
    status: Status
    attempts: int
    at: datetime
    provider_message_id: str = ""
    reason: str = ""
    http_status: int | None = None
    next_attempt_at: datetime | None = None
    provider_down: bool = False

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
    provider_down: bool = False,
) -> Result:
    """Read a try's outcome: sent, failed, blocked, or waiting for the next try of the schedule."""
    attempts = delivery.attempts + 1
    reason = kept_text(outcome.reason)
    status: Status = "waiting" if outcome.kind == "retry" else outcome.kind
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
        provider_message_id=kept_text(outcome.provider_message_id),
        reason=reason,
        http_status=http_status,
        next_attempt_at=next_attempt_at,
        provider_down=provider_down,
    )


def blocked(delivery: Delivery, reason: str, *, at: datetime) -> Result:
    """Return the end of a delivery that was not tried, because the provider would have refused it."""
    return Result(delivery=delivery, status="blocked", attempts=delivery.attempts, at=at, reason=kept_text(reason))


def kept_text(text: str) -> str:
    """Return what Postgres can keep of a text from a provider: no NUL, and not too much."""
    return text.replace("\x00", "\ufffd")[:REASON_LENGTH_MAX]


def outcome_event(result: Result) -> Envelope:
    """Return the event of a delivery that ended; the same result gives the same event, byte for byte."""
    delivery = result.delivery
    return caused_by(
        delivery.request,
        [_told(result)],
        source=SOURCE,
        stream=f"delivery-{delivery.id}",
        last_version=0,
        time=result.at,
    )[0]


def _told(result: Result) -> Event:
    delivery, reply = result.delivery, result.delivery.reply
    if result.status == "sent":
        return MessageSent(
            delivery_id=delivery.id,
            channel=reply.channel,
            provider_message_id=result.provider_message_id,
            attempts=result.attempts,
            regarding=reply.regarding,
        )
    if result.status == "blocked":
        return MessageBlocked(
            delivery_id=delivery.id, channel=reply.channel, reason=result.reason, regarding=reply.regarding
        )
    return MessageFailed(
        delivery_id=delivery.id,
        channel=reply.channel,
        reason=result.reason,
        status=result.http_status,
        attempts=result.attempts,
        regarding=reply.regarding,
    )
