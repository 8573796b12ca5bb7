"""What comes from outside, on the topic chat.inbound: nobody here decided it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import AwareDatetime

from chatledger.events.base import Event, PersonalDocument, PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(Event):
    """A client wrote to us.

    `reply_to` is what the channel needs to answer (for Chat2Desk: transport, channel_id, dialog_id);
    `raw` is the provider's whole body, unknown fields included.
    """

    type: ClassVar[str] = "message.received"

    channel: str
    client_id: str
    provider_message_id: str
    text: PersonalText
    reply_to: dict[str, Any]
    raw: PersonalDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNoted(Event):
    """The provider told us something that no client wrote, such as an echo of our own reply. Never answered."""

    type: ClassVar[str] = "webhook.noted"

    channel: str
    client_id: str
    provider_message_id: str
    kind: str
    raw: PersonalDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Event):
    """The timer service says that a timer's time has come."""

    type: ClassVar[str] = "timer.fired"

    timer_id: str
    kind: str
    due: AwareDatetime


EVENTS: tuple[type[Event], ...] = (MessageReceived, WebhookNoted, TimerFired)
