"""What the HTTP API takes and shows of reminders and clients: shapes, and how rows and events become them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chatledger.events.codec import parse_time, type_and_version
from chatledger.events.envelope import Envelope
from chatledger.events.outreach import ReminderKind
from chatledger_outreach.shapes import Shape

MESSAGE_LENGTH_MAX = 4_000
"""WhatsApp takes 4,096 characters."""
TAGS_MAX = 50


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character, which cannot be stored")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _moment(text: str) -> str:
    parse_time(text)
    return text


def _tags(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(_storable(tag).strip() for tag in tags))


Id = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_storable)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
"""ISO 8601 with an offset, such as 2026-12-01T09:00:00+05:30."""


class NewReminder(Shape):
    """A reminder to schedule, for exactly one of a client, an order or an invoice: by id, or by its number."""

    type: ReminderKind
    message: Annotated[str, Field(max_length=MESSAGE_LENGTH_MAX), AfterValidator(_storable)]
    scheduled_for: Moment
    client_id: Id | None = None
    order_id: Id | None = None
    invoice_id: Id | None = None


class NewTags(Shape):
    """A client's tags, in place of those before."""

    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=TAGS_MAX), AfterValidator(_tags)
    ]


class HistoryView(Shape):
    """One event of a reminder and when it happened."""

    version: int
    type: str
    time: datetime


class ReminderSummary(Shape):
    """A reminder in a list. `about` is the order, invoice or product that is its reason."""

    id: str
    project: str
    conversation: str
    type: ReminderKind
    message: str
    scheduled_for: datetime
    status: str
    reason: str | None
    about: str | None
    created_at: datetime
    updated_at: datetime


class ReminderView(ReminderSummary):
    """One reminder, with what happened to it."""

    history: list[HistoryView]


class ReminderPage(Shape):
    """Reminders, newest first. `next_cursor` asks for the following page; None on the last one."""

    reminders: list[ReminderSummary]
    next_cursor: str | None


class ClientTagsView(Shape):
    """A client and its tags."""

    conversation: str
    tags: list[str]


def reminder_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a reminder has in a list and alone."""
    same = {name: row[name] for name in ("id", "project", "conversation", "status", "reason", "about")}
    return same | {
        "type": row["kind"],
        "message": row["text"],
        "scheduled_for": row["due"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def history_views(envelopes: Sequence[Envelope]) -> list[HistoryView]:
    """Show what happened in one stream."""
    return [
        HistoryView(version=each.stream_version or 0, type=type_and_version(each.data)[0], time=each.time)
        for each in envelopes
    ]
