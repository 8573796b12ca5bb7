"""Orders and invoices, on the topic chat.billing, in the streams `order-<id>` and `invoice-<id>`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from chatledger.events.base import Event, Integer, PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One thing in an order. `unit_price_minor` is in minor units of the order's currency, None without a price."""

    name: str
    quantity: Integer
    unit_price_minor: Integer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCreated(Event):
    """Billing has the order (as a draft)."""

    type: ClassVar[str] = "order.created"

    order_id: str
    order_number: str
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str | None
    address: PersonalText
    phone: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderConfirmed(Event):
    """The order is to be carried out."""

    type: ClassVar[str] = "order.confirmed"

    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceIssued(Event):
    """A confirmed order was invoiced. `number` has no gaps within a project and a year. Amounts in minor units."""

    type: ClassVar[str] = "invoice.issued"

    invoice_id: str
    number: str
    order_id: str
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str
    total_minor: Integer
    issued_on: date
    due_on: date


EVENTS: tuple[type[Event], ...] = (OrderCreated, OrderConfirmed, InvoiceIssued)
