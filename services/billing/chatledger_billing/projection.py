"""From the aggregates' events to rows of the read model. Pure; every step may be done twice.

To show a further event, give it a branch in `project`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chatledger.events.envelope import Envelope
from chatledger.events.orders import InvoiceIssued, OrderConfirmed, OrderCreated
from chatledger_billing.invoices import InvoiceStatus
from chatledger_billing.orders import OrderStatus
from chatledger_billing.rules import total_of

Row = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Changes:
    """Rows to write: new orders, orders that moved on, new invoices."""

    orders: list[Row] = field(default_factory=list)
    moves: dict[str, Row] = field(default_factory=dict)
    invoices: list[Row] = field(default_factory=list)


def project(events: Iterable[tuple[int, Envelope]]) -> Changes:
    """Turn events, each with its place in the notification log, into rows. Unknown events change nothing."""
    changes = Changes()
    for position, envelope in events:
        match envelope.data:
            case OrderCreated() as created:
                changes.orders.append(_order(position, envelope, created))
            case OrderConfirmed() as confirmed:
                changes.moves[confirmed.order_id] = {
                    "id": confirmed.order_id,
                    "status": OrderStatus.CONFIRMED,
                    "version": envelope.stream_version,
                    "updated_at": envelope.time,
                }
            case InvoiceIssued() as issued:
                changes.invoices.append(_invoice(envelope, issued))
    return changes


def _order(position: int, envelope: Envelope, created: OrderCreated) -> Row:
    total = total_of(created.lines, created.currency)
    return {
        "id": created.order_id,
        "number": created.order_number,
        "project": created.project,
        "conversation": envelope.conversation,
        "status": OrderStatus.DRAFT,
        "version": envelope.stream_version,
        "lines": created.lines,
        "currency": created.currency,
        "total_minor": None if total is None else total.minor,
        "placed_at": envelope.time,
        "position": position,
    }


def _invoice(envelope: Envelope, issued: InvoiceIssued) -> Row:
    return {
        "id": issued.invoice_id,
        "number": issued.number,
        "project": issued.project,
        "order_id": issued.order_id,
        "conversation": envelope.conversation,
        "status": InvoiceStatus.ISSUED,
        "version": envelope.stream_version,
        "lines": issued.lines,
        "currency": issued.currency,
        "total_minor": issued.total_minor,
        "issued_on": issued.issued_on,
        "due_on": issued.due_on,
    }
