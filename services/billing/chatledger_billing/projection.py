"""From orders and invoices as they stand to rows of the read model. Pure; every step may be done twice.

A row is the whole of what is shown of one order or invoice. Of several in a batch the newest is written, and it
replaces what is older in the table and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chatledger_billing.invoices import Invoice
from chatledger_billing.orders import Order
from chatledger_billing.snapshots import Followed, Snapshot

Row = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Changes:
    """Rows to write, by id."""

    orders: dict[str, Row] = field(default_factory=dict)
    invoices: dict[str, Row] = field(default_factory=dict)


def project(followed: Iterable[Followed]) -> Changes:
    """Turn events into rows. A row's position is the place of its first event, by which pages are ordered."""
    newest: dict[str, tuple[int, Snapshot]] = {}
    for each in followed:
        stream = each.decision.originator_id
        newest[stream] = newest[stream][0] if stream in newest else each.place, each.snapshot
    changes = Changes()
    for place, snapshot in newest.values():
        if isinstance(snapshot.state, Order):
            changes.orders[snapshot.state.id] = order_row(snapshot, place)
        else:
            changes.invoices[snapshot.state.id] = invoice_row(snapshot, place)
    return changes


def order_row(snapshot: Snapshot, position: int) -> Row:
    """Return the row of an order. Raises TypeError for an invoice."""
    order = snapshot.state
    if not isinstance(order, Order):
        raise TypeError("this is no order")
    amounts = order.amounts
    return {
        "id": order.id,
        "number": order.number,
        "project": order.project,
        "client_id": order.client_id,
        "conversation": snapshot.conversation,
        "status": order.status,
        "reason": order.reason,
        "version": order.version,
        "lines": order.lines,
        "currency": order.currency,
        "subtotal_minor": amounts and amounts.subtotal_minor,
        "discount_minor": amounts and amounts.discount_minor,
        "tax_minor": amounts and amounts.tax_minor,
        "total_minor": amounts and amounts.total_minor,
        "placed_at": snapshot.began_at,
        "updated_at": snapshot.changed_at,
        "position": position,
    }


def invoice_row(snapshot: Snapshot, position: int) -> Row:
    """Return the row of an invoice. Raises TypeError for an order."""
    invoice = snapshot.state
    if not isinstance(invoice, Invoice):
        raise TypeError("this is no invoice")
    return {
        "id": invoice.id,
        "number": invoice.number,
        "project": invoice.project,
        "client_id": invoice.client_id,
        "order_id": invoice.order_id,
        "order_number": invoice.order_number,
        "conversation": snapshot.conversation,
        "status": invoice.status,
        "version": invoice.version,
        "lines": invoice.lines,
        "currency": invoice.currency,
        "tax_inclusive": invoice.tax_inclusive,
        "subtotal_minor": invoice.subtotal_minor,
        "discounts": invoice.discounts,
        "discount_minor": invoice.discount_minor,
        "taxes": invoice.taxes,
        "tax_minor": invoice.tax_minor,
        "total_minor": invoice.total_minor,
        "paid_minor": invoice.paid_minor,
        "payments": invoice.payments,
        "refunds": invoice.refunds,
        "credit_note": invoice.credit_note,
        "void_reason": invoice.void_reason,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "updated_at": snapshot.changed_at,
        "position": position,
    }
