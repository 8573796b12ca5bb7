"""How rows and events become what the API for a shop's staff shows; its shapes are in detailed_shapes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import orjson

from chatledger_billing.decisions import Decision
from chatledger_billing.detailed_shapes import (
    CreditNoteView,
    DetailedHistoryView,
    DetailedInvoiceView,
    DiscountView,
    InvoiceLineView,
    PaymentView,
    RefundView,
    TaxView,
)
from chatledger_billing.invoices import InvoiceStatus
from chatledger_billing.projection import invoice_row, order_row
from chatledger_billing.snapshots import snapshot_of
from chatledger_billing.views import (
    AmountView,
    LinkView,
    Row,
    amount_view,
    line_views,
    optional_amount,
    order_fields,
)

OPEN = frozenset({InvoiceStatus.ISSUED, InvoiceStatus.PARTLY_PAID})
"""Something is to be paid."""
_DETAILS = ("status", "rule", "reference", "reason")
"""The field of an event that says the most, in this order; none of them is about a person."""


def detailed_order_fields(row: Row, invoice_href: str | None) -> dict[str, Any]:
    """Return the fields that an order has in a list and alone."""
    parts = {name: optional_amount(row[f"{name}_minor"], row["currency"]) for name in ("subtotal", "discount", "tax")}
    return {**order_fields(row, invoice_href), "client_id": row["client_id"], "reason": row["reason"], **parts}


def invoice_fields(row: Row, *, order_href: str, pdf_href: str, today: date) -> dict[str, Any]:
    """Return the fields that an invoice has in a list and alone. `today` tells whether it is overdue."""
    same = ("id", "number", "project", "conversation", "client_id", "status", "issued_on", "due_on")
    total, paid, currency = row["total_minor"], row["paid_minor"], row["currency"]
    is_open = row["status"] in OPEN
    return {
        **{name: row[name] for name in same},
        "overdue": is_open and row["due_on"] < today,
        "total": amount_view(total, currency),
        "paid": amount_view(paid, currency),
        "balance": amount_view(total - paid if is_open else 0, currency),
        "order": LinkView(id=row["order_id"], number=row["number_of_order"], href=order_href),
        "pdf": pdf_href,
    }


def detailed_invoice_view(row: Row, history: Sequence[Decision], fields: dict[str, Any]) -> DetailedInvoiceView:
    """Show one invoice; `fields` are those of `invoice_fields`."""
    currency = row["currency"]

    def amount(minor: int) -> AmountView:
        return amount_view(minor, currency)

    credit_note = None
    if row["credit_note"] is not None:
        credit_note = CreditNoteView(number=row["credit_note"], reason=row["void_reason"] or "")
    return DetailedInvoiceView(
        **fields,
        lines=[_line(line, currency) for line in row["lines"]],
        tax_inclusive=row["tax_inclusive"],
        subtotal=amount(row["subtotal_minor"]),
        discounts=[
            DiscountView(
                name=each["name"],
                percent_bp=each["percent_bp"],
                amount=optional_amount(each["amount_minor"], currency),
            )
            for each in row["discounts"]
        ],
        discount=amount(row["discount_minor"]),
        taxes=[
            TaxView(rate_bp=each["rate_bp"], base=amount(each["base_minor"]), tax=amount(each["tax_minor"]))
            for each in row["taxes"]
        ],
        tax=amount(row["tax_minor"]),
        payments=[
            PaymentView(
                reference=each["reference"],
                amount=amount(each["amount_minor"]),
                method=each["method"],
                paid_at=datetime.fromisoformat(each["paid_at"]),
            )
            for each in row["payments"]
        ],
        refunds=[
            RefundView(reference=each["reference"], amount=amount(each["amount_minor"]), reason=each["reason"])
            for each in row["refunds"]
        ],
        credit_note=credit_note,
        history=detailed_history(history),
    )


def detailed_history(history: Sequence[Decision]) -> list[DetailedHistoryView]:
    """Show what happened to one aggregate, and what each event said."""
    return [
        DetailedHistoryView(
            version=each.originator_version,
            type=each.event.type,
            time=each.cause.time,
            detail=next((str(said) for name in _DETAILS if (said := getattr(each.event, name, None))), None),
        )
        for each in history
    ]


def row_of_order(order: Sequence[Decision], invoice: Sequence[Decision]) -> Row:
    """Return the row of an order as the read model will have it, from the streams of the order and its invoice."""
    snapshot, invoiced = snapshot_of(order), snapshot_of(invoice)
    assert snapshot is not None, "an order that was changed has events"
    linked: dict[str, str | None] = {"invoice_id": None, "invoice_number": None}
    if invoiced is not None:
        linked = {"invoice_id": invoiced.state.id, "invoice_number": invoiced.state.number}
    return {**_as_read(order_row(snapshot, 0)), **linked}


def row_of_invoice(invoice: Sequence[Decision], number_of_order: str | None) -> Row:
    """Return the row of an invoice as the read model will have it, from its stream."""
    snapshot = snapshot_of(invoice)
    assert snapshot is not None, "an invoice that was changed has events"
    return {**_as_read(invoice_row(snapshot, 0)), "number_of_order": number_of_order}


def _as_read(row: Row) -> dict[str, Any]:
    """What is kept as JSON comes back as dictionaries and lists."""
    kept = {"lines", "discounts", "taxes", "payments", "refunds"} & row.keys()
    return {**row, **{name: orjson.loads(orjson.dumps(row[name])) for name in kept}}


def _line(line: Row, currency: str) -> InvoiceLineView:
    (shown,) = line_views([line], currency)
    assert shown.unit_price is not None
    assert shown.total is not None, "only what has a price is invoiced"
    return InvoiceLineView(
        name=shown.name,
        sku=line.get("sku"),
        quantity=shown.quantity,
        unit=line.get("unit"),
        tax_bp=line.get("tax_bp"),
        unit_price=shown.unit_price,
        total=shown.total,
    )
