"""What became of each message to a client, on the topic chat.notify, in the stream `delivery-<id>`.

It ends as sent, failed or blocked; what was sent may then be reported as delivered, read or undelivered. `regarding`
is the stream that asked for the message unasked (`campaign-<id>`, `reminder-<id>`), None for an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chatledger.events.base import Event, Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(Event):
    """The provider took the message. `attempts` counts this one."""

    type: ClassVar[str] = "message.sent"
    version: ClassVar[int] = 2

    delivery_id: str
    channel: str
    provider_message_id: str
    attempts: Integer
    regarding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed(Event):
    """The message will not be tried again. `status` is the provider's HTTP status, None when it never answered."""

    type: ClassVar[str] = "message.failed"
    version: ClassVar[int] = 2

    delivery_id: str
    channel: str
    reason: str
    status: Integer | None
    attempts: Integer
    regarding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBlocked(Event):
    """The message was not sent, because the provider would have refused it: `reason` says why."""

    type: ClassVar[str] = "message.blocked"

    delivery_id: str
    channel: str
    reason: str
    regarding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelivered(Event):
    """The provider says that the message is on the client's device."""

    type: ClassVar[str] = "message.delivered"

    delivery_id: str
    channel: str
    provider_message_id: str
    regarding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRead(Event):
    """The provider says that the client has seen the message."""

    type: ClassVar[str] = "message.read"

    delivery_id: str
    channel: str
    provider_message_id: str
    regarding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageUndelivered(Event):
    """The provider took the message and says now that it did not arrive."""

    type: ClassVar[str] = "message.undelivered"

    delivery_id: str
    channel: str
    provider_message_id: str
    reason: str
    regarding: str | None = None


EVENTS: tuple[type[Event], ...] = (
    MessageSent,
    MessageFailed,
    MessageBlocked,
    MessageDelivered,
    MessageRead,
    MessageUndelivered,
)
