"""What became of a campaign's messages, noted from what other services tell, in whatever order it comes.

Topics are read side by side, so that a client's response may be seen before the message that it answers was seen to
be sent; only the times in the events count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chatledger.adapters.postgres import Connection
from chatledger.events import deliveries, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import MessageReceived
from chatledger_outreach.campaign_metrics import OUTCOMES, TargetState
from chatledger_outreach.campaigns import STREAM_PREFIX
from chatledger_outreach.sql import query


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """How far a message has come by a batch of events."""

    state: TargetState
    reason: str | None
    sent_at: datetime | None


async def track(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    """Note what a batch says of campaigns' messages, within the caller's transaction. Twice is as once."""
    outcomes = _outcomes(envelopes)
    if outcomes:
        places, values = list(outcomes), list(outcomes.values())
        columns = (
            [campaign for campaign, _ in places],
            [conversation for _, conversation in places],
            [int(each.state) for each in values],
            [each.reason for each in values],
            [each.sent_at for each in values],
        )
        await connection.execute(query("campaign_track_outcomes"), columns)
    heard = [(each.time, each.conversation) for each in envelopes if isinstance(each.data, MessageReceived)]
    if heard:
        times, conversations = [time for time, _ in heard], [conversation for _, conversation in heard]
        arguments = {"times": times, "conversations": conversations, "earliest": min(times)}
        await connection.execute(query("campaign_track_messages"), arguments)


def _outcomes(envelopes: Sequence[Envelope]) -> dict[tuple[str, str], _Outcome]:
    """The furthest that each message has come, by campaign and conversation, in one order for every transaction."""
    found: dict[tuple[str, str], _Outcome] = {}
    for envelope in envelopes:
        event = envelope.data
        state = _state(event)
        regarding = getattr(event, "regarding", None) or ""
        if state is None or not regarding.startswith(STREAM_PREFIX):
            continue
        sent_at = envelope.time if isinstance(event, deliveries.MessageSent) else None
        new = _Outcome(state=state, reason=_reason(event), sent_at=sent_at)
        place = regarding.removeprefix(STREAM_PREFIX), envelope.conversation
        known = found.setdefault(place, new)
        if new.state > known.state:
            known.state, known.reason = new.state, new.reason
        if new.sent_at is not None:
            known.sent_at = min(new.sent_at, known.sent_at or new.sent_at)
    return dict(sorted(found.items()))


def _state(event: Event) -> TargetState | None:
    if isinstance(event, dialog.NoticeDecided):
        return TargetState.SKIPPED if event.withheld is not None else None
    return OUTCOMES.get(type(event))


def _reason(event: Event) -> str | None:
    if isinstance(event, dialog.NoticeDecided):
        return event.withheld
    if isinstance(event, deliveries.MessageFailed | deliveries.MessageBlocked | deliveries.MessageUndelivered):
        return event.reason
    return None
