"""The conversation: what a client and we know of each other, folded from the stream `conversation-<id>`.

`initial()` and `evolve()` are the whole fold. They look at nothing but their arguments, so the same history gives
the same state, byte for byte. Every message that was handled left at least one event here, and every event names
its cause; so the messages that were handled are in the history too, and a second copy of one is recognised.

State that only a worker needs (how far it has read its topic) is not here: it is not history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
from pydantic import TypeAdapter

from chatledger import shop
from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.shop import Shop

REMEMBERED_DAYS = 7
"""A provider repeats a webhook for hours; a week is far beyond it."""
REMEMBERED_CAUSES_MAX = 500
"""Bounds the state of a client who never stops writing."""
REMEMBERED_ID_LENGTH = 18
"""60 bits of the id and its dashes: enough among 500, half of the bytes."""
EXPIRY = "expiry"
"""The kind of timer that ends a silent session."""
RATE_WINDOW_MS = 60_000
"""The rate limit counts the messages of the last minute of event time."""


class Status(StrEnum):
    """Where the conversation stands. The flow's transitions are in its decide()."""

    INITIAL = "INITIAL"
    WAITING_ADDRESS = "WAITING_ADDRESS"
    WAITING_PHONE = "WAITING_PHONE"
    WAITING_QUANTITY = "WAITING_QUANTITY"
    SHOPPING = "SHOPPING"
    WAITING_CHOICE = "WAITING_CHOICE"
    WAITING_CONFIRMATION = "WAITING_CONFIRMATION"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    HANDED_OFF = "HANDED_OFF"


QUESTIONS = {
    "address": Status.WAITING_ADDRESS,
    "phone": Status.WAITING_PHONE,
    "quantity": Status.WAITING_QUANTITY,
}
"""Each question that can be gone back to, and the status in which it is open."""

FIRST_STATUS = {"order_form": Status.WAITING_ADDRESS, "store": Status.SHOPPING}
"""Where a conversation of each flow begins; of a flow that this code does not know, nothing is known to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The folded state. `version` is the last event's; `handled` holds, per day, the causes that were handled.

    `shop` is a store's part, None in other flows. `opted_out` outlives sessions.
    """

    version: int = 0
    status: Status = Status.INITIAL
    flow: str | None = None
    language: str | None = None
    address: str | None = None
    phone: str | None = None
    quantity: int | None = None
    order_id: str | None = None
    wrong_answers: int = 0
    last_message_at: datetime | None = None
    timer_due: datetime | None = None
    throttled_at: datetime | None = None
    opted_out: bool = False
    shop: Shop | None = None
    recent_ms: tuple[int, ...] = ()
    handled: tuple[tuple[int, tuple[str, ...]], ...] = ()


def initial() -> Conversation:
    """The state before the first event."""
    return Conversation()


def evolve(state: Conversation, envelope: Envelope) -> Conversation:
    """Fold one event of the conversation's stream into the state.

    An unknown event only advances the version, and notes its cause as every event does.
    """
    event = envelope.data
    changes = _CHANGES.get(type(event), _nothing)(state, event, envelope)
    if state.shop is not None:
        changes["shop"] = shop.fold(state.shop, event, envelope)
    cause = (envelope.causation_id or envelope.id)[:REMEMBERED_ID_LENGTH]
    if not (state.handled and state.handled[-1][1][-1] == cause):
        changes["handled"] = _remember(state.handled, cause, envelope.time)
        if type(event) not in _NOT_FROM_A_CLIENT:
            changes["last_message_at"] = envelope.time
            if type(event) is not dialog.MessageThrottled:
                changes["recent_ms"] = _recent(state.recent_ms, envelope.time)
    return replace(state, version=envelope.stream_version or state.version, **changes)


def was_handled(state: Conversation, cause_id: str) -> bool:
    """Whether the message or timer `cause_id` already left its events in this conversation."""
    short = cause_id[:REMEMBERED_ID_LENGTH]
    return any(short in causes for _, causes in reversed(state.handled))


def messages_in_last_minute(state: Conversation, now: datetime) -> int:
    """How many messages were worked on within a minute of `now` in event time.

    The minute after `now` counts too: where a clock was set back, what was handled since lies ahead.
    """
    return len(_within_window(state.recent_ms, _milliseconds(now)))


def encode_state(state: Conversation) -> bytes:
    """Canonical JSON of the state: the same state is the same bytes."""
    return orjson.dumps(state, option=orjson.OPT_UTC_Z)


def decode_state(value: bytes) -> Conversation:
    """Read what `encode_state` wrote. Raises pydantic.ValidationError when it is something else."""
    return _STATE.validate_json(value)


_STATE = TypeAdapter(Conversation)
Changes = dict[str, Any]


def _nothing(state: Conversation, event: Any, envelope: Envelope) -> Changes:
    return {}


def _started(state: Conversation, event: dialog.ConversationStarted, envelope: Envelope) -> Changes:
    status = FIRST_STATUS.get(event.flow, Status.INITIAL)
    begun = {**_FORGET, "status": status, "flow": event.flow, "language": event.language}
    return begun | {"shop": state.shop or Shop()} if event.flow == "store" else begun


def _restarted(state: Conversation, event: dialog.ConversationRestarted, envelope: Envelope) -> Changes:
    return {**_FORGET, "status": FIRST_STATUS.get(state.flow or "", Status.INITIAL)}


def _expired(state: Conversation, event: dialog.ConversationExpired, envelope: Envelope) -> Changes:
    return {**_FORGET, "status": Status.INITIAL, "timer_due": None}


def _handed_off(state: Conversation, event: dialog.HandoffRequested, envelope: Envelope) -> Changes:
    return {"status": Status.HANDED_OFF, "wrong_answers": 0}


def _address(state: Conversation, event: dialog.AddressGiven, envelope: Envelope) -> Changes:
    return {"status": Status.WAITING_PHONE, "address": event.address, "wrong_answers": 0}


def _phone(state: Conversation, event: dialog.PhoneGiven, envelope: Envelope) -> Changes:
    return {"status": Status.WAITING_QUANTITY, "phone": event.phone, "wrong_answers": 0}


def _quantity(state: Conversation, event: dialog.QuantityGiven, envelope: Envelope) -> Changes:
    return {"status": Status.WAITING_CONFIRMATION, "quantity": event.quantity, "wrong_answers": 0}


def _rejected(state: Conversation, event: dialog.AnswerRejected, envelope: Envelope) -> Changes:
    return {"wrong_answers": state.wrong_answers + 1}


def _withdrawn(state: Conversation, event: dialog.AnswerWithdrawn, envelope: Envelope) -> Changes:
    return {"status": QUESTIONS[event.question], event.question: None, "wrong_answers": 0}


def _placed(state: Conversation, event: dialog.OrderPlaced, envelope: Envelope) -> Changes:
    return {"status": Status.COMPLETED, "order_id": event.order_id, "wrong_answers": 0}


def _cancelled(state: Conversation, event: dialog.OrderCancelled, envelope: Envelope) -> Changes:
    return {**_FORGET, "status": Status.CANCELLED}


def _throttled(state: Conversation, event: dialog.MessageThrottled, envelope: Envelope) -> Changes:
    return {"throttled_at": envelope.time} if event.told else {}


def _timer(state: Conversation, event: dialog.TimerRequested, envelope: Envelope) -> Changes:
    return {"timer_due": event.due} if event.kind == EXPIRY else {}


def _opted_out(state: Conversation, event: dialog.ClientOptedOut, envelope: Envelope) -> Changes:
    return {"opted_out": True}


def _opted_in(state: Conversation, event: dialog.ClientOptedIn, envelope: Envelope) -> Changes:
    return {"opted_out": False}


def _items_added(state: Conversation, event: cart.ItemsAdded, envelope: Envelope) -> Changes:
    asked = (state.shop or Shop()).choices
    return {"status": Status.WAITING_CHOICE if asked else Status.WAITING_CONFIRMATION, "wrong_answers": 0}


def _choice_asked(state: Conversation, event: cart.ChoiceAsked, envelope: Envelope) -> Changes:
    return {"status": Status.WAITING_CHOICE, "wrong_answers": 0}


def _choice_made(state: Conversation, event: cart.ChoiceMade, envelope: Envelope) -> Changes:
    known = state.shop or Shop()
    if len(known.choices) > 1:
        return {"status": Status.WAITING_CHOICE, "wrong_answers": 0}
    return {"status": Status.WAITING_CONFIRMATION if known.cart else Status.SHOPPING, "wrong_answers": 0}


def _item_removed(state: Conversation, event: cart.ItemRemoved, envelope: Envelope) -> Changes:
    known = state.shop or Shop()
    if known.choices:
        return {"wrong_answers": 0}
    left = any(line.sku != event.sku for line in known.cart)
    return {"status": Status.WAITING_CONFIRMATION if left else Status.SHOPPING, "wrong_answers": 0}


def _cart_kept(state: Conversation, event: cart.CartKept, envelope: Envelope) -> Changes:
    return {"status": Status.SHOPPING, "wrong_answers": 0}


_FORGET: Changes = {"address": None, "phone": None, "quantity": None, "order_id": None, "wrong_answers": 0}
_NOT_FROM_A_CLIENT = frozenset(
    {
        dialog.ConversationExpired,
        dialog.TimerRequested,
        dialog.OrderNoted,
        dialog.InvoiceNoted,
        dialog.NoticeDecided,
        cart.CartAbandoned,
    }
)
"""What another input than a client's message leads to first."""
_CHANGES: dict[type[Event], Callable[[Conversation, Any, Envelope], Changes]] = {
    dialog.ConversationStarted: _started,
    dialog.ConversationRestarted: _restarted,
    dialog.ConversationExpired: _expired,
    dialog.HandoffRequested: _handed_off,
    dialog.AddressGiven: _address,
    dialog.PhoneGiven: _phone,
    dialog.QuantityGiven: _quantity,
    dialog.AnswerRejected: _rejected,
    dialog.AnswerWithdrawn: _withdrawn,
    dialog.OrderPlaced: _placed,
    dialog.OrderCancelled: _cancelled,
    dialog.MessageThrottled: _throttled,
    dialog.TimerRequested: _timer,
    dialog.ClientOptedOut: _opted_out,
    dialog.ClientOptedIn: _opted_in,
    cart.ItemsAdded: _items_added,
    cart.ChoiceAsked: _choice_asked,
    cart.ChoiceMade: _choice_made,
    cart.ItemRemoved: _item_removed,
    cart.CartKept: _cart_kept,
}


def _remember(
    handled: tuple[tuple[int, tuple[str, ...]], ...], cause: str, time: datetime
) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Add `cause` under its day; drop days beyond the week and, beyond the bound, the oldest causes."""
    day = time.toordinal()
    if handled and handled[-1][0] >= day:
        last_day, causes = handled[-1]
        kept = (*handled[:-1], (last_day, (*causes, cause)))
    else:
        kept = (*(entry for entry in handled if entry[0] >= day - REMEMBERED_DAYS), (day, (cause,)))
    if sum(len(causes) for _, causes in kept) > REMEMBERED_CAUSES_MAX:
        oldest_day, oldest = kept[0]
        return ((oldest_day, oldest[1:]), *kept[1:]) if len(oldest) > 1 else kept[1:]
    return kept


def _recent(recent_ms: tuple[int, ...], time: datetime) -> tuple[int, ...]:
    now = _milliseconds(time)
    return (*_within_window(recent_ms, now), now)


def _within_window(recent_ms: tuple[int, ...], now: int) -> tuple[int, ...]:
    return tuple(at for at in recent_ms if -RATE_WINDOW_MS < at - now < RATE_WINDOW_MS)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
