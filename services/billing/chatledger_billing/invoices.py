"""The aggregate Invoice, and the register that numbers invoices without gaps. Pure.

    (nothing) --issue--> issued

Taxes and discounts belong between the lines and the total of `issue`; payments, credit notes and the states that they
lead to are further members of InvoiceStatus, with their events and a branch in `evolve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import ClassVar

from chatledger.errors import InvariantViolated
from chatledger.events.base import Event
from chatledger.events.ids import derive_id
from chatledger.events.money import Money
from chatledger.events.orders import InvoiceIssued, OrderLine
from chatledger_billing.orders import Order, OrderStatus
from chatledger_billing.rules import RuleBroken, require


class InvoiceStatus(StrEnum):
    """Where an invoice stands."""

    ISSUED = "issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """One invoice. `version` counts its events, from 1."""

    id: str
    version: int
    status: InvoiceStatus
    number: str
    order_id: str
    lines: tuple[OrderLine, ...]
    total: Money
    due_on: date


def invoice_id_of(order_id: str) -> str:
    """Return the id of the one invoice that an order can have."""
    return derive_id(order_id, "invoice")


def invoice_stream(invoice_id: str) -> str:
    """Return the name of the invoice's stream."""
    return f"invoice-{invoice_id}"


def issue(order: Order, *, number: str, issued_on: date, payment_days: int) -> InvoiceIssued:
    """Invoice a confirmed order. Raises RuleBroken when it is not confirmed, has no price, or the date runs over."""
    require(
        order.status is OrderStatus.CONFIRMED, f"only a confirmed order is invoiced, and this one is {order.status}"
    )
    total = order.total
    if total is None:
        raise RuleBroken("an order without a price is not invoiced")
    return InvoiceIssued(
        invoice_id=invoice_id_of(order.id),
        number=number,
        order_id=order.id,
        project=order.project,
        client_id=order.client_id,
        lines=order.lines,
        currency=total.currency,
        total_minor=total.minor,
        issued_on=issued_on,
        due_on=due_on(issued_on, payment_days),
    )


def due_on(issued_on: date, payment_days: int) -> date:
    """Return the last day to pay. Raises RuleBroken beyond the calendar."""
    try:
        return issued_on + timedelta(days=payment_days)
    except OverflowError as wrong:
        raise RuleBroken("an invoice is due before the year 10000") from wrong


def evolve(invoice: Invoice | None, event: Event) -> Invoice:
    """Return the invoice after `event`. Raises InvariantViolated for an event that cannot have happened."""
    if not isinstance(event, InvoiceIssued) or invoice is not None:
        raise InvariantViolated(f"{event.type} cannot follow in this invoice's stream")
    return Invoice(
        id=event.invoice_id,
        version=1,
        status=InvoiceStatus.ISSUED,
        number=event.number,
        order_id=event.order_id,
        lines=event.lines,
        total=Money(minor=event.total_minor, currency=event.currency),
        due_on=event.due_on,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersGiven(Event):
    """The register numbered these invoices, `first` and the following. Billing's own: it is not published."""

    type: ClassVar[str] = "invoice_numbers.given"

    first: int
    invoice_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRegister:
    """Counts the invoices of one project and one year. Two that count at once collide in the stream's version."""

    project: str
    year: int
    version: int = 0
    last: int = 0

    @property
    def stream(self) -> str:
        """The name of the register's stream."""
        return f"register-{self.project}-{self.year}"

    def give(self, invoice_ids: Sequence[str]) -> NumbersGiven:
        """Number these invoices, in their order."""
        return NumbersGiven(first=self.last + 1, invoice_ids=tuple(invoice_ids))

    def after(self, version: int, given: NumbersGiven) -> InvoiceRegister:
        """Return the register after its event `version`. The newest event alone tells where the count stands."""
        last = given.first + len(given.invoice_ids) - 1
        return InvoiceRegister(project=self.project, year=self.year, version=version, last=last)

    def number(self, count: int) -> str:
        """Write the number of the `count`-th invoice, e.g. `INV-2026-000001`."""
        return f"INV-{self.year}-{count:06d}"
