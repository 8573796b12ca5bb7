"""What became of each message to a client, on the topic chat.notify, in the stream `delivery-<id>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chatledger.events.base import Event, Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(Event):
    """The provider took the message. `attempts` counts this one."""

    type: ClassVar[str] = "message.sent"

    delivery_id: str
    channel: str
    provider_message_id: str
    attempts: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed(Event):
    """The message will not be tried again. `status` is the provider's HTTP status, None when it never answered."""

    type: ClassVar[str] = "message.failed"

    delivery_id: str
    channel: str
    reason: str
    status: Integer | None
    attempts: Integer


EVENTS: tuple[type[Event], ...] = (MessageSent, MessageFailed)
