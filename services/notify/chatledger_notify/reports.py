"""What a provider reports of a message, and how it moves the delivery's status: upward only. Pure.

    queued < sent < failed < delivered < read

Whatever the order in which reports arrive, and however often, a delivery ends at the highest. A rise above `sent` is
an event in the delivery's stream. A report for a delivery that still waits says that the provider had taken it: it
ends as sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, get_args

from chatledger.events.base import Event
from chatledger.events.deliveries import MessageDelivered, MessageRead, MessageUndelivered
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inbound import DeliveryStatus
from chatledger_notify.deliveries import SOURCE, Delivery, Result, Status, kept_text

RANKS: Final[Mapping[DeliveryStatus | None, int]] = {
    None: -1,
    **{status: rank for rank, status in enumerate(get_args(DeliveryStatus))},
}
UNKNOWN_REASON = "the provider does not say why"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A delivery.reported event. `partition` is where it was read; `reported_at` its time."""

    id: str
    partition: int
    project: str
    channel: str
    delivery_id: str | None
    provider_message_id: str
    status: DeliveryStatus
    error: str | None
    reported_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A delivery's row as far as reports move it. `version` is that of the last event in its stream.

    `delivery` is there while it waits; what was written to the client is not kept for longer.
    """

    id: str
    conversation: str
    channel: str
    regarding: str | None
    correlation_id: str
    traceparent: str | None
    status: Status
    attempts: int
    provider_message_id: str
    ended_at: datetime | None
    reported: DeliveryStatus | None
    version: int
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRise:
    """A delivery's status has risen above `sent`: version `version` of its stream, because of one report."""

    delivery_id: str
    conversation: str
    channel: str
    regarding: str | None
    correlation_id: str
    traceparent: str | None
    version: int
    status: DeliveryStatus
    report_id: str
    provider_message_id: str
    reason: str
    happened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What some reports made of one delivery: its row, the result where they ended it, and its rises."""

    standing: Standing
    ended: Result | None
    rises: tuple[StatusRise, ...]


def fold(standing: Standing, reports: Iterable[Report]) -> Folded:
    """Take reports into a delivery, in the order in which they came."""
    ended: Result | None = None
    rises = []
    for report in reports:
        if standing.delivery is not None:
            ended = _ended_by(standing.delivery, report)
            standing = replace(
                standing, status="sent", attempts=ended.attempts, ended_at=ended.at, delivery=None, version=1
            )
        if not standing.provider_message_id:
            standing = replace(standing, provider_message_id=report.provider_message_id)
        if RANKS[report.status] > RANKS[standing.reported]:
            standing = replace(standing, reported=report.status)
            if RANKS[report.status] > RANKS["sent"]:
                standing = replace(standing, version=standing.version + 1)
                rises.append(_rise(standing, report))
    return Folded(standing=standing, ended=ended, rises=tuple(rises))


def status_event(rise: StatusRise) -> Envelope:
    """Return the event of a rise; the same rise gives the same event, byte for byte."""
    return Envelope(
        id=derive_id(rise.report_id, SOURCE, 0),
        source=SOURCE,
        conversation=rise.conversation,
        time=rise.happened_at,
        stream=f"delivery-{rise.delivery_id}",
        stream_version=rise.version,
        correlation_id=rise.correlation_id,
        causation_id=rise.report_id,
        traceparent=rise.traceparent,
        data=_told(rise),
    )


def _told(rise: StatusRise) -> Event:
    if rise.status == "failed":
        return MessageUndelivered(
            delivery_id=rise.delivery_id,
            channel=rise.channel,
            provider_message_id=rise.provider_message_id,
            reason=rise.reason,
            regarding=rise.regarding,
        )
    event_class = MessageRead if rise.status == "read" else MessageDelivered
    return event_class(
        delivery_id=rise.delivery_id,
        channel=rise.channel,
        provider_message_id=rise.provider_message_id,
        regarding=rise.regarding,
    )


def _ended_by(delivery: Delivery, report: Report) -> Result:
    """The delivery as sent: a try that seemed to fail, or whose record was lost, had reached the provider."""
    return Result(
        delivery=delivery,
        status="sent",
        attempts=max(1, delivery.attempts),
        at=report.reported_at,
        provider_message_id=report.provider_message_id,
        reason="the provider reported it",
    )


def _rise(standing: Standing, report: Report) -> StatusRise:
    return StatusRise(
        delivery_id=standing.id,
        conversation=standing.conversation,
        channel=standing.channel,
        regarding=standing.regarding,
        correlation_id=standing.correlation_id,
        traceparent=standing.traceparent,
        version=standing.version,
        status=report.status,
        report_id=report.id,
        provider_message_id=standing.provider_message_id or report.provider_message_id,
        reason=kept_text(report.error or UNKNOWN_REASON) if report.status == "failed" else "",
        # A report may have been written down before our own record of the provider's answer was.
        happened_at=max(report.reported_at, standing.ended_at or report.reported_at),
    )
