"""What comes from outside, on the topic chat.inbound: nobody here decided it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from chatledger.events.base import Event, PersonalDocument, PersonalText, PersonalVariables
from chatledger.events.orders import InvoiceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(Event):
    """A client wrote to us.

    `reply_to` is what the channel needs to answer (for Chat2Desk: transport, channel_id, dialog_id);
    `raw` is the provider's whole body, unknown fields included; `client_name` is what the provider calls the client.
    """

    type: ClassVar[str] = "message.received"
    version: ClassVar[int] = 2

    channel: str
    client_id: str
    provider_message_id: str
    text: PersonalText
    reply_to: dict[str, Any]
    raw: PersonalDocument
    client_name: PersonalText | None = None


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


DeliveryStatus = Literal["queued", "sent", "failed", "delivered", "read"]
"""How far a message has come, in the order of rank: a status never goes back to one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReported(Event):
    """The provider says how far one of our messages has come. Reports arrive in any order, and more than once.

    `delivery_id` is ours where the provider carried it along; without it `provider_message_id` tells which message.
    """

    type: ClassVar[str] = "delivery.reported"

    channel: str
    client_id: str
    provider_message_id: str
    delivery_id: str | None
    status: DeliveryStatus
    error: str | None
    raw: PersonalDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReported(Event):
    """Billing tells the conversation how one of its orders stands.

    `refused` is the rule that a cancellation would have broken, None where nothing was refused.
    """

    type: ClassVar[str] = "order.reported"

    order_id: str
    order_number: str
    status: str
    reason: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceReported(Event):
    """Billing tells the conversation what one of its invoices says now; `because` is the type of billing's event."""

    type: ClassVar[str] = "invoice.reported"

    because: str
    invoice: InvoiceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDue(Event):
    """Something unasked is to be said to a client now: a reminder, or a message of a campaign.

    `regarding` is the stream that wants it (`reminder-<id>`, `campaign-<id>`), `about` the order, invoice or product
    that is its reason. `text` is what to say within the channel's window for free text; outside it the template
    `content_sid`, or the one that the project has for `purpose`, is filled with `variables`.
    """

    type: ClassVar[str] = "notice.due"

    regarding: str
    purpose: str
    promotional: bool
    text: PersonalText
    content_sid: str | None = None
    variables: PersonalVariables
    about: str | None = None


EVENTS: tuple[type[Event], ...] = (
    MessageReceived,
    WebhookNoted,
    TimerFired,
    DeliveryReported,
    OrderReported,
    InvoiceReported,
    NoticeDue,
)
