"""What the dialog decided, on the topic chat.dialog, in the stream `conversation-<conversation>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import AwareDatetime

from chatledger.events.base import Event, Integer, PersonalText, PersonalVariables
from chatledger.events.orders import Discount, InvoiceDocument, OrderLine


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
    version: ClassVar[int] = 2

    order_id: str
    order_number: str
    lines: tuple[OrderLine, ...]
    currency: str | None
    address: PersonalText
    phone: PersonalText
    discounts: tuple[Discount, ...] = ()
    tax_inclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(Event):
    """Without `order_id`, by the dialog: the client cancelled before an order was placed. With it, by billing."""

    type: ClassVar[str] = "order.cancelled"
    version: ClassVar[int] = 2

    reason: str
    order_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationRequested(Event):
    """The client wants an order that was placed to be cancelled; billing decides."""

    type: ClassVar[str] = "order.cancellation_requested"

    order_id: str
    order_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNoted(Event):
    """The conversation knows from billing how one of its orders stands."""

    type: ClassVar[str] = "order.noted"

    order_id: str
    order_number: str
    status: str
    reason: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceNoted(Event):
    """The conversation knows from billing what one of its invoices says."""

    type: ClassVar[str] = "invoice.noted"

    because: str
    invoice: InvoiceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDecided(Event):
    """Whether something unasked is said to the client: `withheld` is why not, None where it is said."""

    type: ClassVar[str] = "notice.decided"

    regarding: str
    purpose: str
    withheld: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptedOut(Event):
    """The client wants no promotions."""

    type: ClassVar[str] = "client.opted_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptedIn(Event):
    """The client wants promotions again."""

    type: ClassVar[str] = "client.opted_in"


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
class MessageTemplate:
    """What is sent where a provider takes no free text: the provider's template, and what to fill it with.

    Without a `content_sid` the one that the project has for the message's purpose is meant.
    """

    content_sid: str | None
    variables: PersonalVariables


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRequested(Event):
    """Send `text` to the client. The delivery's id, and its idempotency key, is this event's id.

    An answer to a message has the purpose `reply`: the client wrote at this event's time. Anything else says with
    `last_message_at` when the client last wrote (None: never), which decides whether free text may be sent, and with
    `regarding` which stream asked for it, if one did.
    """

    type: ClassVar[str] = "reply.requested"
    version: ClassVar[int] = 2

    channel: str
    client_id: str
    text: PersonalText
    reply_to: dict[str, Any]
    purpose: str = "reply"
    regarding: str | None = None
    last_message_at: AwareDatetime | None = None
    template: MessageTemplate | None = None


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
    CancellationRequested,
    OrderNoted,
    InvoiceNoted,
    NoticeDecided,
    ClientOptedOut,
    ClientOptedIn,
    MessageThrottled,
    MessageDeferred,
    TimerRequested,
    ReplyRequested,
)
