"""The reminder: what may happen to one, decided from its state, and its fold. Pure.

(nothing) --schedule--> scheduled --due--> due --sent--> sent
                        |      ^ |           |--failed--> failed
                        |postpone            |--withheld--> cancelled
                        |--cancel--> cancelled
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from chatledger.errors import ChatledgerError
from chatledger.events import deliveries, dialog, outreach
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inbound import NoticeDue
from chatledger.events.outreach import ReminderKind

STREAM_PREFIX = "reminder-"
PROMOTIONAL: frozenset[ReminderKind] = frozenset({"RESTOCK"})
"""Kinds that a client who wants no promotions is not sent."""


class ReminderStatus(StrEnum):
    """Where a reminder stands."""

    SCHEDULED = "scheduled"
    DUE = "due"
    SENT = "sent"
    CANCELLED = "cancelled"
    FAILED = "failed"


class TooLate(ChatledgerError):
    """The reminder cannot be cancelled any more: it was told to the conversation, or has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """One reminder. `version` counts its events, from 1. `reason` is why it was cancelled or has failed."""

    id: str
    conversation: str
    kind: ReminderKind
    about: str | None
    text: str
    due: datetime
    status: ReminderStatus
    version: int
    created_at: datetime
    updated_at: datetime
    correlation_id: str
    traceparent: str | None
    last_event_id: str
    reason: str | None = None


Decide = Callable[[Reminder], list[Event]]


def reminder_stream(reminder_id: str) -> str:
    """Return the name of the reminder's stream."""
    return f"{STREAM_PREFIX}{reminder_id}"


def reminder_of(stream: str) -> str | None:
    """Return the id of the reminder whose stream this is; None for another stream."""
    return stream.removeprefix(STREAM_PREFIX) if stream.startswith(STREAM_PREFIX) else None


def cancel(reminder: Reminder, reason: str) -> list[Event]:
    """Decide to cancel it. Cancelling it again changes nothing. Raises TooLate."""
    if reminder.status is ReminderStatus.CANCELLED:
        return []
    if reminder.status is not ReminderStatus.SCHEDULED:
        raise TooLate(f"the reminder is {reminder.status} already")
    return [outreach.ReminderCancelled(reminder_id=reminder.id, reason=reason)]


def reason_gone(reminder: Reminder, reason: str) -> list[Event]:
    """Decide what the end of its reason does: nothing, where it is too late."""
    if reminder.status is not ReminderStatus.SCHEDULED:
        return []
    return [outreach.ReminderCancelled(reminder_id=reminder.id, reason=reason)]


def come_due(reminder: Reminder, now: datetime, allowed_at: datetime) -> list[Event]:
    """Decide what happens when somebody looks at it. `allowed_at` is when the client may next be written to."""
    if reminder.status is not ReminderStatus.SCHEDULED or reminder.due > now:
        return []
    if allowed_at > now:
        return [outreach.ReminderPostponed(reminder_id=reminder.id, due=allowed_at)]
    return [outreach.ReminderDue(reminder_id=reminder.id, notice_id=notice_id(reminder.id))]


def sent(reminder: Reminder, delivery_id: str) -> list[Event]:
    """Decide what the provider's acceptance means."""
    if reminder.status is not ReminderStatus.DUE:
        return []
    return [outreach.ReminderSent(reminder_id=reminder.id, delivery_id=delivery_id)]


def failed(reminder: Reminder, reason: str) -> list[Event]:
    """Decide what it means that the message was not sent."""
    if reminder.status is not ReminderStatus.DUE:
        return []
    return [outreach.ReminderFailed(reminder_id=reminder.id, reason=reason)]


def withheld(reminder: Reminder, reason: str) -> list[Event]:
    """Decide what it means that the conversation did not say it."""
    if reminder.status is not ReminderStatus.DUE:
        return []
    return [outreach.ReminderCancelled(reminder_id=reminder.id, reason=reason)]


def outcome(event: Event) -> tuple[str, Decide] | None:
    """Return the stream whose message an event tells the end of, and what that means for a reminder; else None."""
    match event:
        case deliveries.MessageSent(regarding=str() as stream):
            return stream, partial(sent, delivery_id=event.delivery_id)
        case deliveries.MessageFailed(regarding=str() as stream) | deliveries.MessageBlocked(regarding=str() as stream):
            return stream, partial(failed, reason=event.reason)
        case dialog.NoticeDecided(regarding=stream, withheld=str() as reason):
            return stream, partial(withheld, reason=reason)
        case _:
            return None


def notice_id(reminder_id: str) -> str:
    """Return the id of the one notice that a reminder leads to."""
    return derive_id(reminder_stream(reminder_id), "notice")


def notice_of(reminder: Reminder, variables: dict[str, str]) -> NoticeDue:
    """Return what the conversation is told when the reminder is due."""
    return NoticeDue(
        regarding=reminder_stream(reminder.id),
        purpose=reminder.kind.lower(),
        promotional=reminder.kind in PROMOTIONAL,
        text=reminder.text,
        variables=variables,
        about=reminder.about,
    )


def fold(envelopes: Iterable[Envelope]) -> Reminder | None:
    """Return the reminder of a stream, None of an empty one."""
    reminder: Reminder | None = None
    for envelope in envelopes:
        reminder = evolve(reminder, envelope)
    return reminder


def evolve(reminder: Reminder | None, envelope: Envelope) -> Reminder | None:
    """Fold one event into the state. An event that is not known here only advances the version."""
    event = envelope.data
    seen: dict[str, Any] = {
        "version": envelope.stream_version or 0,
        "updated_at": envelope.time,
        "last_event_id": envelope.id,
    }
    if isinstance(event, outreach.ReminderScheduled):
        return Reminder(
            id=event.reminder_id,
            conversation=envelope.conversation,
            kind=event.kind,
            about=event.about,
            text=event.text,
            due=event.due,
            status=ReminderStatus.SCHEDULED,
            created_at=envelope.time,
            correlation_id=envelope.correlation_id,
            traceparent=envelope.traceparent,
            **seen,
        )
    if reminder is None:
        return None
    return replace(reminder, **seen, **_CHANGES.get(type(event), _nothing)(event))


def _nothing(event: Any) -> dict[str, Any]:
    return {}


def _ended(status: ReminderStatus) -> Callable[[Any], dict[str, Any]]:
    return lambda event: {"status": status, "reason": getattr(event, "reason", None)}


_CHANGES: dict[type[Event], Callable[[Any], dict[str, Any]]] = {
    outreach.ReminderPostponed: lambda event: {"due": event.due},
    outreach.ReminderDue: _ended(ReminderStatus.DUE),
    outreach.ReminderSent: _ended(ReminderStatus.SENT),
    outreach.ReminderCancelled: _ended(ReminderStatus.CANCELLED),
    outreach.ReminderFailed: _ended(ReminderStatus.FAILED),
}
