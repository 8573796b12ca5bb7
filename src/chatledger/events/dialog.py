"""What the dialog decided, on the topic chat.dialog, in the stream `conversation-<conversation>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import AwareDatetime

from chatledger.events.base import Event, Integer, PersonalText
from chatledger.events.orders import OrderLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationStarted(Event):
    """A client wrote for the first time, or again after an order, a cancellation or a long silence."""

    type: ClassVar[str] = "conversation.started"

    flow: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRestarted(Event):
    """The client asked to begin again; what was answered so far is forgotten."""

    type: ClassVar[str] = "conversation.restarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationExpired(Event):
    """Nothing was heard from the client for the project's session time."""

    type: ClassVar[str] = "conversation.expired"

    last_message_at: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffRequested(Event):
    """A person should take over; the bot is silent until the session ends or the client restarts."""

    type: ClassVar[str] = "conversation.handoff_requested"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGiven(Event):
    """The client gave an address that the flow accepted."""

    type: ClassVar[str] = "address.given"

    address: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneGiven(Event):
    """The client gave a valid phone number, kept in E.164."""

    type: ClassVar[str] = "phone.given"

    phone: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityGiven(Event):
    """The client gave a quantity within the project's range."""

    type: ClassVar[str] = "quantity.given"

    quantity: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRejected(Event):
    """The answer to `question` was not usable, and why."""

    type: ClassVar[str] = "answer.rejected"

    question: str
    reason: str
    answer: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerWithdrawn(Event):
    """The client went back to `question`, whose answer is forgotten."""

    type: ClassVar[str] = "answer.withdrawn"

    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced(Event):
    """The client confirmed an order. Without a price `unit_price_minor` and `currency` are absent."""

    type: ClassVar[str] = "order.placed"

    order_id: str
    order_number: str
    lines: tuple[OrderLine, ...]
    currency: str | None
    address: PersonalText
    phone: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(Event):
    """The client cancelled before an order was placed."""

    type: ClassVar[str] = "order.cancelled"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageThrottled(Event):
    """The client writes faster than the project allows; the message is not worked on.

    `told` is True where the client was told so, at most once a minute.
    """

    type: ClassVar[str] = "message.throttled"

    told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeferred(Event):
    """The message is for the person who took over; the bot leaves it alone."""

    type: ClassVar[str] = "message.deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerRequested(Event):
    """Wake this conversation at `due`. At most one timer of a kind is pending per conversation."""

    type: ClassVar[str] = "timer.requested"

    kind: str
    due: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRequested(Event):
    """Send `text` to the client. The delivery's id, and its idempotency key, is this event's id."""

    type: ClassVar[str] = "reply.requested"

    channel: str
    client_id: str
    text: PersonalText
    reply_to: dict[str, Any]


EVENTS: tuple[type[Event], ...] = (
    ConversationStarted,
    ConversationRestarted,
    ConversationExpired,
    HandoffRequested,
    AddressGiven,
    PhoneGiven,
    QuantityGiven,
    AnswerRejected,
    AnswerWithdrawn,
    OrderPlaced,
    OrderCancelled,
    MessageThrottled,
    MessageDeferred,
    TimerRequested,
    ReplyRequested,
)
