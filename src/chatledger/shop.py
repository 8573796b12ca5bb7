"""What a store's conversation knows beside what every conversation does: the cart, open questions, orders, the invoice.

It is a part of the conversation's state and is folded from the same stream; `chatledger.conversation` calls `fold`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.orders import InvoiceDocument, OrderLine

ORDERS_REMEMBERED_MAX = 10
"""Older orders are billing's to tell of."""

QUANTITY_MAX = 2**63 - 1
"""What a state can hold; a flow orders far less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A question that is open: which of `skus` did the client mean with `text`?"""

    text: str
    quantity: int
    skus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOrder:
    """An order of this client, as billing told it last. `lines` are kept of the newest one, for ordering it again."""

    order_id: str
    number: str
    status: str
    lines: tuple[OrderLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The folded part. `orders` has the newest last; `cart_timer_due` is when the cart is next looked at."""

    cart: tuple[OrderLine, ...] = ()
    choices: tuple[Choice, ...] = ()
    discount_code: str | None = None
    cart_changed_at: datetime | None = None
    cart_timer_due: datetime | None = None
    abandoned: bool = False
    orders: tuple[KnownOrder, ...] = ()
    invoice: InvoiceDocument | None = None


def fold(shop: Shop, event: Event, envelope: Envelope) -> Shop:
    """Return the shop after `event`; an event that is not about it changes nothing."""
    change = _CHANGES.get(type(event))
    return shop if change is None else change(shop, event, envelope)


def _added(shop: Shop, event: cart.ItemsAdded, envelope: Envelope) -> Shop:
    lines = {line.sku: line for line in shop.cart}
    for item in event.items:
        known = lines.get(item.sku)
        lines[item.sku] = replace(item, quantity=min(item.quantity + known.quantity, QUANTITY_MAX)) if known else item
    return _touched(replace(shop, cart=tuple(lines.values())), envelope)


def _asked(shop: Shop, event: cart.ChoiceAsked, envelope: Envelope) -> Shop:
    choice = Choice(text=event.text, quantity=event.quantity, skus=event.skus)
    return replace(shop, choices=(*shop.choices, choice))


def _chosen(shop: Shop, event: cart.ChoiceMade, envelope: Envelope) -> Shop:
    return replace(shop, choices=shop.choices[1:])


def _removed(shop: Shop, event: cart.ItemRemoved, envelope: Envelope) -> Shop:
    left = tuple(line for line in shop.cart if line.sku != event.sku)
    if not left:
        return replace(shop, cart=(), cart_changed_at=None, cart_timer_due=None, abandoned=False)
    return _touched(replace(shop, cart=left), envelope)


def _discounted(shop: Shop, event: cart.DiscountApplied, envelope: Envelope) -> Shop:
    return _touched(replace(shop, discount_code=event.code), envelope)


def _abandoned(shop: Shop, event: cart.CartAbandoned, envelope: Envelope) -> Shop:
    return replace(shop, abandoned=True, cart_timer_due=None)


def emptied(shop: Shop) -> Shop:
    """Return the shop without what was being bought. A timer that is still out finds that nobody waits for it."""
    return replace(
        shop, cart=(), choices=(), discount_code=None, cart_changed_at=None, cart_timer_due=None, abandoned=False
    )


def _emptied(shop: Shop, event: Event, envelope: Envelope) -> Shop:
    return emptied(shop)


def _placed(shop: Shop, event: dialog.OrderPlaced, envelope: Envelope) -> Shop:
    order = KnownOrder(order_id=event.order_id, number=event.order_number, status="placed", lines=event.lines)
    older = tuple(replace(known, lines=()) for known in shop.orders[-(ORDERS_REMEMBERED_MAX - 1) :])
    return replace(emptied(shop), orders=(*older, order))


def _order_noted(shop: Shop, event: dialog.OrderNoted, envelope: Envelope) -> Shop:
    return replace(
        shop,
        orders=tuple(
            replace(known, status=event.status) if known.order_id == event.order_id else known for known in shop.orders
        ),
    )


def _invoice_noted(shop: Shop, event: dialog.InvoiceNoted, envelope: Envelope) -> Shop:
    """Keep the newest invoice; that an order has one says that it is confirmed."""
    invoice, known = event.invoice, shop.invoice
    orders = tuple(
        replace(order, status="confirmed")
        if order.order_id == invoice.order_id and order.status in ("placed", "draft")
        else order
        for order in shop.orders
    )
    if known is not None and known.invoice_id != invoice.invoice_id and known.number > invoice.number:
        invoice = known
    return replace(shop, invoice=invoice, orders=orders)


def _timer(shop: Shop, event: dialog.TimerRequested, envelope: Envelope) -> Shop:
    return replace(shop, cart_timer_due=event.due) if event.kind == CART_TIMER else shop


def _touched(shop: Shop, envelope: Envelope) -> Shop:
    return replace(shop, cart_changed_at=envelope.time, abandoned=False)


CART_TIMER = "cart"
"""The kind of timer that finds abandoned carts."""

_CHANGES: dict[type[Event], Callable[[Shop, Any, Envelope], Shop]] = {
    cart.ItemsAdded: _added,
    cart.ChoiceAsked: _asked,
    cart.ChoiceMade: _chosen,
    cart.ItemRemoved: _removed,
    cart.DiscountApplied: _discounted,
    cart.CartAbandoned: _abandoned,
    dialog.OrderPlaced: _placed,
    dialog.OrderCancelled: _emptied,
    dialog.ConversationStarted: _emptied,
    dialog.ConversationRestarted: _emptied,
    dialog.ConversationExpired: _emptied,
    dialog.OrderNoted: _order_noted,
    dialog.InvoiceNoted: _invoice_noted,
    dialog.TimerRequested: _timer,
}
