"""The aggregate Order: what may happen to an order, decided from its state. Pure.

    (nothing) --create--> draft --confirm--> confirmed --advance--> processing, shipped, delivered, one by one
    draft, confirmed, processing --cancel--> cancelled

Items are added to and taken out of drafts alone. A status is never skipped, and never left backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chatledger.errors import InvariantViolated
from chatledger.events.base import Event
from chatledger.events.dialog import OrderCancelled, OrderPlaced
from chatledger.events.money import Money
from chatledger.events.orders import (
    CancellationRefused,
    Discount,
    OrderAdvanced,
    OrderConfirmed,
    OrderCreated,
    OrderItemAdded,
    OrderItemRemoved,
    OrderLine,
)
from chatledger.pricing import Amounts
from chatledger_billing.rules import amounts_of, require, require_discounts, require_lines, require_text

LINES_MAX = 1_000
"""Bounds what one order weighs in a record and on a page."""


class OrderStatus(StrEnum):
    """Where an order stands."""

    DRAFT = "draft"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


NEXT: Mapping[OrderStatus, OrderStatus] = {
    OrderStatus.CONFIRMED: OrderStatus.PROCESSING,
    OrderStatus.PROCESSING: OrderStatus.SHIPPED,
    OrderStatus.SHIPPED: OrderStatus.DELIVERED,
}
"""What `advance` leads to."""
CANCELLABLE = frozenset({OrderStatus.DRAFT, OrderStatus.CONFIRMED, OrderStatus.PROCESSING})
"""What is on its way to the client is not called back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order. `version` counts its events, from 1. `reason` is why it was cancelled."""

    id: str
    number: str
    version: int
    status: OrderStatus
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str | None
    discounts: tuple[Discount, ...] = ()
    tax_inclusive: bool = False
    reason: str | None = None

    @property
    def amounts(self) -> Amounts | None:
        """What it comes to, None where it has no price."""
        return amounts_of(self.lines, self.currency, self.discounts, tax_inclusive=self.tax_inclusive)

    @property
    def total(self) -> Money | None:
        """What it costs, None where it has no price."""
        amounts = self.amounts
        if amounts is None or self.currency is None:
            return None
        return Money(minor=amounts.total_minor, currency=self.currency)


def order_stream(order_id: str) -> str:
    """Return the name of the order's stream."""
    return f"order-{order_id}"


def create(placed: OrderPlaced, *, project: str, client_id: str) -> OrderCreated:
    """Take over what a client ordered, as a draft. Raises RuleBroken."""
    require_text("an order's id", placed.order_id)
    require_text("an order's number", placed.order_number)
    require_text("an order's project", project)
    require(len(placed.lines) <= LINES_MAX, f"an order has at most {LINES_MAX} lines")
    require_lines(placed.lines, placed.currency)
    require_discounts(placed.discounts)
    amounts_of(placed.lines, placed.currency, placed.discounts, tax_inclusive=placed.tax_inclusive)
    return OrderCreated(
        order_id=placed.order_id,
        order_number=placed.order_number,
        project=project,
        client_id=client_id,
        lines=placed.lines,
        currency=placed.currency,
        address=placed.address,
        phone=placed.phone,
        discounts=placed.discounts,
        tax_inclusive=placed.tax_inclusive,
    )


def add_item(order: Order, line: OrderLine) -> OrderItemAdded:
    """Put one more line into a draft. Raises RuleBroken."""
    _require_draft(order)
    lines = (*order.lines, line)
    require(len(lines) <= LINES_MAX, f"an order has at most {LINES_MAX} lines")
    require_lines(lines, order.currency)
    amounts_of(lines, order.currency, order.discounts, tax_inclusive=order.tax_inclusive)
    return OrderItemAdded(order_id=order.id, line=line)


def remove_item(order: Order, index: int) -> OrderItemRemoved:
    """Take the line at `index`, counted from 0, out of a draft. Raises RuleBroken."""
    _require_draft(order)
    require(0 <= index < len(order.lines), f"there is no line {index}: the order has {len(order.lines)}, from 0 on")
    require(len(order.lines) > 1, "an order has at least one line: cancel it instead")
    return OrderItemRemoved(order_id=order.id, index=index)


def confirm(order: Order) -> OrderConfirmed:
    """Decide that the order is to be carried out. Raises RuleBroken."""
    require(order.status is OrderStatus.DRAFT, f"only a draft can be confirmed, and this order is {order.status}")
    return OrderConfirmed(order_id=order.id)


def advance(order: Order, to: OrderStatus | None = None) -> OrderAdvanced:
    """Bring the order to its next status; where `to` is given it must be that one. Raises RuleBroken."""
    require(order.status is not OrderStatus.DRAFT, "a draft is confirmed before anything else happens to it")
    following = NEXT.get(order.status)
    if following is None:
        require(False, f"an order that is {order.status} goes no further")
    require(to in (None, following), f"an order that is {order.status} becomes {following} next, not {to}")
    return OrderAdvanced(order_id=order.id, status=str(following))


def cancel(order: Order, reason: str) -> OrderCancelled:
    """Decide that the order is not carried out. Raises RuleBroken once it is on its way."""
    require_text("a reason", reason)
    require(order.status is not OrderStatus.CANCELLED, "this order is cancelled already")
    require(
        order.status in CANCELLABLE, f"an order can be cancelled until it is shipped, and this one is {order.status}"
    )
    return OrderCancelled(order_id=order.id, reason=reason)


def refuse_cancellation(order: Order, rule: str) -> CancellationRefused:
    """Note that the client asked in vain, and the rule that stood against it."""
    return CancellationRefused(order_id=order.id, rule=rule)


def evolve(order: Order | None, event: Event) -> Order:
    """Return the order after `event`. Raises InvariantViolated for an event that cannot have happened."""
    if order is None:
        if isinstance(event, OrderCreated):
            return _created(event)
        raise InvariantViolated(f"{event.type} cannot be the first event of an order")
    version = order.version + 1
    match event:
        case OrderItemAdded():
            return replace(order, version=version, lines=(*order.lines, event.line))
        case OrderItemRemoved():
            left = (*order.lines[: event.index], *order.lines[event.index + 1 :])
            return replace(order, version=version, lines=left)
        case OrderConfirmed():
            return replace(order, version=version, status=OrderStatus.CONFIRMED)
        case OrderAdvanced():
            return replace(order, version=version, status=OrderStatus(event.status))
        case OrderCancelled():
            return replace(order, version=version, status=OrderStatus.CANCELLED, reason=event.reason)
        case CancellationRefused():
            return replace(order, version=version)
    raise InvariantViolated(f"{event.type} cannot follow in the stream of order {order.id}")


def _created(event: OrderCreated) -> Order:
    return Order(
        id=event.order_id,
        number=event.order_number,
        version=1,
        status=OrderStatus.DRAFT,
        project=event.project,
        client_id=event.client_id,
        lines=event.lines,
        currency=event.currency,
        discounts=event.discounts,
        tax_inclusive=event.tax_inclusive,
    )


def _require_draft(order: Order) -> None:
    require(order.status is OrderStatus.DRAFT, f"only a draft's items change, and this order is {order.status}")
