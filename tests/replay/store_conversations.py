"""What customers and billing told the example store in the histories that are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from chatledger import topics
from chatledger.conversation import Conversation, initial
from chatledger.events import Event
from chatledger.events.dialog import OrderPlaced
from chatledger.events.envelope import from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, MessageReceived, NoticeDue, OrderReported, TimerFired
from chatledger.flows.pipeline import handle
from chatledger.shop import CART_TIMER
from tests.support.dialog import START
from tests.support.ledger import Placed
from tests.unit.projects_at_hand import STORE
from tests.unit.store_given import CLIENT, invoice_of

CONVERSATION = f"store/twilio/{CLIENT}"
Said = str | Callable[[Conversation, Placed], Event]
"""A text of the client, or what another service tells, made from what is known by then."""


def _order(status: str, refused: str | None = None) -> Said:
    def told(state: Conversation, placed: Placed) -> Event:
        assert state.shop is not None
        order = state.shop.orders[-1]
        return OrderReported(order_id=order.order_id, order_number=order.number, status=status, refused=refused)

    return told


def _invoice(because: str, *, paid_minor: int = 0) -> Said:
    def told(state: Conversation, placed: Placed) -> Event:
        order = [each.data for _, each in placed if isinstance(each.data, OrderPlaced)][-1]
        return InvoiceReported(because=because, invoice=replace(invoice_of(order), paid_minor=paid_minor))

    return told


def _cancel_newest(state: Conversation, placed: Placed) -> Event:
    assert state.shop is not None
    return _message(len(placed), f"cancel {state.shop.orders[-1].number.lower()}")


def _cart_timer(state: Conversation, placed: Placed) -> Event:
    assert state.shop is not None
    assert state.shop.cart_timer_due is not None
    return TimerFired(timer_id="timer", kind=CART_TIMER, due=state.shop.cart_timer_due)


def _reminder(state: Conversation, placed: Placed) -> Event:
    return NoticeDue(
        regarding="reminder-1", purpose="cart_abandoned", promotional=False, text="Still there?", variables={}
    )


CONVERSATIONS: dict[str, tuple[Said, ...]] = {
    "store-order": (
        "Hi",
        "Cement x 100",
        "1",
        _invoice("invoice.issued"),
        "status",
        _order("processing"),
        _invoice("payment.recorded", paid_minor=200_000),
        _cancel_newest,
        _order("shipped", "it has left"),
        "invoice",
        "repeat",
        "code BUILD5",
        "yes",
    ),
    "store-choices-and-refusals": (
        "cement 100 bags, steel rod x 20, bricks 500, unobtainium 3, white paint 4 l",
        "2",
        "red",
        "remove 20 cement",
        "2",
        "stop",
        "code NOPE",
        "cart",
        "cancel",
        "sand 2.5",
        "what?",
        "",
        "bananas",
        "hello?",
        "more bananas",
        "is anybody there",
        "restart",
    ),
    "store-cart-left": ("nails 3 inch 5 kg", "sand 200 kg", _cart_timer, _cart_timer, _reminder, "1", _reminder),
}


def store_history(steps: Sequence[Said]) -> Placed:
    """One customer's history of the inputs and of what was decided. Timers fire 55 minutes after what was before."""
    state, placed, time = initial(), Placed(), START
    for number, step in enumerate(steps):
        time += timedelta(minutes=55) if step is _cart_timer else timedelta(seconds=20)
        event = _message(number, step) if isinstance(step, str) else step(state, placed)
        if isinstance(event, TimerFired):
            time = max(time, event.due)
        cause = from_outside(
            event,
            id=derive_id("store", number),
            source="/chatledger/ingress",
            conversation=CONVERSATION,
            time=time,
        )
        state, decided = handle(state, cause, {STORE.name: STORE})
        placed += [(topics.INBOUND, cause), *((topics.DIALOG, each) for each in decided)]
    return placed


def _message(number: int, text: str) -> Event:
    return MessageReceived(
        channel="twilio",
        client_id=CLIENT,
        provider_message_id=f"SM{number}",
        text=text,
        reply_to={},
        raw={"Body": text},
    )
