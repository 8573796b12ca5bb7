"""The aggregate Order: what may happen to an order, decided from its state. Pure.

    (nothing) --create--> draft --confirm--> confirmed

The later states of an order (processing, shipped, delivered, cancelled) are further members of OrderStatus, each with
its event in chatledger.events.orders, a decision here and a branch in `evolve`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from chatledger.errors import InvariantViolated
from chatledger.events.base import Event
from chatledger.events.dialog import OrderPlaced
from chatledger.events.money import Money
from chatledger.events.orders import OrderConfirmed, OrderCreated, OrderLine
from chatledger_billing.rules import require, require_lines, require_text, total_of


class OrderStatus(StrEnum):
    """Where an order stands."""

    DRAFT = "draft"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order. `version` counts its events, from 1."""

    id: str
    version: int
    status: OrderStatus
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str | None

    @property
    def total(self) -> Money | None:
        """What it costs, None where it has no price."""
        return total_of(self.lines, self.currency)


def order_stream(order_id: str) -> str:
    """Return the name of the order's stream."""
    return f"order-{order_id}"


def create(placed: OrderPlaced, *, project: str, client_id: str) -> OrderCreated:
    """Take over what a client ordered, as a draft. Raises RuleBroken."""
    require_text("an order's id", placed.order_id)
    require_text("an order's number", placed.order_number)
    require_text("an order's project", project)
    require_lines(placed.lines, placed.currency)
    total_of(placed.lines, placed.currency)
    return OrderCreated(
        order_id=placed.order_id,
        order_number=placed.order_number,
        project=project,
        client_id=client_id,
        lines=placed.lines,
        currency=placed.currency,
        address=placed.address,
        phone=placed.phone,
    )


def confirm(order: Order) -> OrderConfirmed:
    """Decide that the order is to be carried out. Raises RuleBroken."""
    require(order.status is OrderStatus.DRAFT, f"only a draft can be confirmed, and this order is {order.status}")
    return OrderConfirmed(order_id=order.id)


def evolve(order: Order | None, event: Event) -> Order:
    """Return the order after `event`. Raises InvariantViolated for an event that cannot have happened."""
    match event:
        case OrderCreated() if order is None:
            return Order(
                id=event.order_id,
                version=1,
                status=OrderStatus.DRAFT,
                project=event.project,
                client_id=event.client_id,
                lines=event.lines,
                currency=event.currency,
            )
        case OrderConfirmed() if order is not None:
            return replace(order, version=order.version + 1, status=OrderStatus.CONFIRMED)
    raise InvariantViolated(f"{event.type} cannot follow in the stream of order {order.id if order else 'nothing'}")
