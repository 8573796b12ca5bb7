"""What became of a campaign's messages, as numbers; also counted from events alone, which must come to the same. Pure.

targeted    clients in the settled audience
skipped     not said: the conversation withheld it (opted out), or there was no text for this client
sent        taken by the provider
delivered   on the client's device, read or not
read        seen
failed      blocked, refused or undelivered, and not delivered after all
responses   clients who wrote within a day after the message was sent
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from chatledger.events import deliveries, dialog, outreach
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import MessageReceived, NoticeDue
from chatledger_outreach.campaigns import campaign_stream

RESPONSE_WITHIN = timedelta(hours=24)


class TargetState(IntEnum):
    """How far a client's message has come; it never goes back. The numbers are in the table campaign_targets."""

    WAITING = 0
    TOLD = 1
    SKIPPED = 2
    SENT = 3
    FAILED = 4
    DELIVERED = 5
    READ = 6


OUTCOMES: dict[type[Event], TargetState] = {
    deliveries.MessageSent: TargetState.SENT,
    deliveries.MessageFailed: TargetState.FAILED,
    deliveries.MessageBlocked: TargetState.FAILED,
    deliveries.MessageUndelivered: TargetState.FAILED,
    deliveries.MessageDelivered: TargetState.DELIVERED,
    deliveries.MessageRead: TargetState.READ,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The numbers, and what they are of each other; None of nothing."""

    targeted: int
    skipped: int
    sent: int
    delivered: int
    read: int
    failed: int
    responses: int

    def rates(self) -> dict[str, float | None]:
        """Return shares from 0 to 1: sent and failed of the targeted, the others of the sent."""
        shares = {
            "sent": (self.sent, self.targeted),
            "failed": (self.failed, self.targeted),
            "delivered": (self.delivered, self.sent),
            "read": (self.read, self.sent),
            "responses": (self.responses, self.sent),
        }
        return {name: round(part / whole, 4) if whole else None for name, (part, whole) in shares.items()}


@dataclass(slots=True, kw_only=True)
class _Told:
    """One conversation's part in a campaign."""

    state: TargetState = TargetState.TOLD
    sent_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What the events of a ledger say of one campaign."""

    targeted: int = 0
    released: int = 0
    noticed: int = 0
    told: dict[str, _Told] = field(default_factory=dict)
    heard: dict[str, list[datetime]] = field(default_factory=dict)


def metrics_from_events(campaign_id: str, envelopes: Iterable[Envelope]) -> Metrics:
    """Count from the events of all topics, each once, in whatever order."""
    seen = _Seen()
    for envelope in envelopes:
        _see(seen, envelope, campaign_stream(campaign_id))
    states = [each.state for each in seen.told.values()]
    arrived = [each for each in states if each >= TargetState.DELIVERED]
    return Metrics(
        targeted=seen.targeted,
        skipped=states.count(TargetState.SKIPPED) + seen.released - seen.noticed,
        sent=sum(each.sent_at is not None or each.state >= TargetState.DELIVERED for each in seen.told.values()),
        delivered=len(arrived),
        read=states.count(TargetState.READ),
        failed=states.count(TargetState.FAILED),
        responses=sum(
            any(told.sent_at < at <= told.sent_at + RESPONSE_WITHIN for at in seen.heard.get(conversation, ()))
            for conversation, told in seen.told.items()
            if told.sent_at is not None
        ),
    )


def _see(seen: _Seen, envelope: Envelope, stream: str) -> None:
    event = envelope.data
    if isinstance(event, MessageReceived):
        seen.heard.setdefault(envelope.conversation, []).append(envelope.time)
    elif envelope.stream == stream:
        if isinstance(event, outreach.CampaignStarted):
            seen.targeted = event.targeted
        elif isinstance(event, outreach.CampaignBatchReleased):
            seen.released += event.count
    elif getattr(event, "regarding", None) == stream:
        told = seen.told.setdefault(envelope.conversation, _Told())
        if isinstance(event, NoticeDue):
            seen.noticed += 1
        elif isinstance(event, dialog.NoticeDecided) and event.withheld is not None:
            told.state = max(told.state, TargetState.SKIPPED)
        elif type(event) in OUTCOMES:
            told.state = max(told.state, OUTCOMES[type(event)])
            if isinstance(event, deliveries.MessageSent):
                told.sent_at = min(envelope.time, told.sent_at or envelope.time)
