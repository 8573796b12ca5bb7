"""What the HTTP API shows of orders and invoices: its response shapes, made from rows of the read model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from chatledger.events.money import Money
from chatledger_billing.decisions import Decision
from chatledger_billing.rules import decimal_text

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountView:
    """An amount twice: exact in `minor` units, and as people write it, e.g. `750.00`."""

    minor: int
    amount: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineView:
    """One line. Without a price there are no amounts."""

    name: str
    quantity: int
    unit_price: AmountView | None
    total: AmountView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryView:
    """One event of an aggregate and when it happened."""

    version: int
    type: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """Another order or invoice, and where to read it."""

    id: str
    number: str | None
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSummary:
    """An order in a list."""

    id: str
    number: str
    project: str
    conversation: str
    status: str
    lines: list[LineView]
    total: AmountView | None
    placed_at: datetime
    updated_at: datetime
    invoice: LinkView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView(OrderSummary):
    """One order, with what happened to it."""

    history: list[HistoryView]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    """Orders, newest first. `next_cursor` asks for the following page; None on the last one."""

    orders: list[OrderSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceView:
    """One invoice, with what happened to it."""

    id: str
    number: str
    project: str
    conversation: str
    status: str
    lines: list[LineView]
    total: AmountView
    issued_on: date
    due_on: date
    order: LinkView
    history: list[HistoryView]


def amount_view(minor: int, currency: str) -> AmountView:
    """Write an amount with as many decimals as its currency has."""
    return AmountView(minor=minor, amount=decimal_text(Money(minor=minor, currency=currency)), currency=currency)


def optional_amount(minor: int | None, currency: str | None) -> AmountView | None:
    """Write an amount where there is one."""
    return None if minor is None or currency is None else amount_view(minor, currency)


def line_views(lines: Sequence[Row], currency: str | None) -> list[LineView]:
    """Show the lines of an order or an invoice."""
    views = []
    for line in lines:
        price, quantity = line["unit_price_minor"], line["quantity"]
        total = None if price is None else price * quantity
        views.append(
            LineView(
                name=line["name"],
                quantity=quantity,
                unit_price=optional_amount(price, currency),
                total=optional_amount(total, currency),
            )
        )
    return views


def order_fields(row: Row, invoice_href: str | None) -> dict[str, Any]:
    """Return the fields that an order has in a list and alone."""
    invoice = None
    if row["invoice_id"] is not None and invoice_href is not None:
        invoice = LinkView(id=row["invoice_id"], number=row["invoice_number"], href=invoice_href)
    same = ("id", "number", "project", "conversation", "status", "placed_at", "updated_at")
    return {
        **{name: row[name] for name in same},
        "lines": line_views(row["lines"], row["currency"]),
        "total": optional_amount(row["total_minor"], row["currency"]),
        "invoice": invoice,
    }


def invoice_view(row: Row, history: Sequence[Decision], order_href: str) -> InvoiceView:
    """Show one invoice."""
    return InvoiceView(
        **{name: row[name] for name in ("id", "number", "project", "conversation", "status", "issued_on", "due_on")},
        lines=line_views(row["lines"], row["currency"]),
        total=amount_view(row["total_minor"], row["currency"]),
        order=LinkView(id=row["order_id"], number=row["number_of_order"], href=order_href),
        history=history_views(history),
    )


def history_views(history: Sequence[Decision]) -> list[HistoryView]:
    """Show what happened to one aggregate."""
    return [
        HistoryView(version=each.originator_version, type=each.event.type, time=each.cause.time) for each in history
    ]
