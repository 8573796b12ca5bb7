"""What is answered about the past, by the HTTP API and by the commands alike: shapes, and how they are filled. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from chatledger.events.codec import type_and_version
from chatledger.ports import LedgerEvent
from chatledger.replay import event_line
from chatledger_ledger.time_travel import ConversationEntry, Difference, ExplainedStep, Known


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginningView:
    """Where something was first recorded."""

    position: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One event: where it stands in history, when it was recorded and when it happened, and what it was."""

    position: int
    recorded_at: datetime
    time: datetime
    type: str
    id: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseView:
    """The event that caused another one; without `type` and `position` where the ledger does not have it."""

    id: str
    type: str | None
    position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateView:
    """What was known of one thing at a moment, the newest event that this holds, and how many it holds."""

    kind: str
    id: str
    state: dict[str, Any] | None
    events: int
    first: BeginningView
    last_event: EventView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedView:
    """How far a thing had come at a moment. Without `last_event` nothing was known of it then."""

    events: int
    last_event: EventView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """One field that differs, such as `lines[0].quantity`, and its two values; null where there was none."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangingEventView(EventView):
    """One event that changed something: which fields, and what caused it."""

    fields: list[str]
    cause: CauseView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceView:
    """What changed between two moments, and the events that did it, in their order.

    A field that was changed and changed back is in `events` alone.
    """

    kind: str
    id: str
    before: ReachedView
    after: ReachedView
    changes: list[ChangeView]
    events: list[ChangingEventView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationView:
    """A conversation in a list."""

    id: str
    events: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    last_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPage:
    """Conversations in the order of their ids. `next_cursor` asks for the following page; null on the last one."""

    conversations: list[ConversationView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPage:
    """Events of one stream in the order of positions, as `chatledger replay` prints them: the ledger's columns."""

    stream: str
    events: list[dict[str, Any]]
    next_cursor: str | None


def state_view(known: Known) -> StateView:
    """Show what was known."""
    return StateView(
        kind=known.kind,
        id=known.id,
        state=known.state,
        events=known.events,
        first=BeginningView(position=known.first.position, recorded_at=known.first.recorded_at),
        last_event=_event_view(known.last_event),
    )


def difference_view(difference: Difference) -> DifferenceView:
    """Show what changed."""
    return DifferenceView(
        kind=difference.after.kind,
        id=difference.after.id,
        before=_reached(difference.before),
        after=_reached(difference.after),
        changes=[ChangeView(field=each.field, before=each.before, after=each.after) for each in difference.changes],
        events=[_changing_event(each) for each in difference.steps],
    )


def conversation_view(entry: ConversationEntry) -> ConversationView:
    """Show one conversation of a list."""
    return ConversationView(
        id=entry.id,
        events=entry.events,
        first_recorded_at=entry.first_recorded_at,
        last_recorded_at=entry.last_recorded_at,
        last_position=entry.last_position,
    )


def event_columns(event: LedgerEvent) -> dict[str, Any]:
    """Show one event whole."""
    columns: dict[str, Any] = orjson.loads(event_line(event))
    return columns


def _reached(known: Known) -> ReachedView:
    return ReachedView(events=known.events, last_event=_event_view(known.last_event))


def _changing_event(each: ExplainedStep) -> ChangingEventView:
    cause = each.cause
    return ChangingEventView(
        **_event_fields(each.step.event),
        fields=list(each.step.fields),
        cause=None if cause is None else CauseView(id=cause.id, type=cause.type, position=cause.position),
    )


def _event_view(event: LedgerEvent | None) -> EventView | None:
    return None if event is None else EventView(**_event_fields(event))


def _event_fields(event: LedgerEvent) -> dict[str, Any]:
    return {
        "position": event.position,
        "recorded_at": event.recorded_at,
        "time": event.envelope.time,
        "type": type_and_version(event.envelope.data)[0],
        "id": event.envelope.id,
        "stream": event.envelope.stream,
    }
