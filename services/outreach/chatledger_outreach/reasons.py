"""What gives a reason for a reminder, and what takes it away. Pure.

Times come from the events: what happened long ago may be due long since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from chatledger.events import cart, dialog, orders
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.outreach import ReminderKind
from chatledger.projects import Outreach as Terms
from chatledger.projects import Project
from chatledger_outreach.clients import Client
from chatledger_outreach.quiet import local_hour, zone_of
from chatledger_outreach.reminder_texts import abandoned_text, follow_up_text, payment_text, restock_text

DELIVERED = "delivered"
OUT_OF_STOCK = ("out_of_stock", "not_enough")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A reminder that there is a reason for."""

    reminder_id: str
    conversation: str
    kind: ReminderKind
    about: str | None
    text: str
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The reason for a client's reminders of one kind is gone; with `about`, of those that are about it."""

    kind: ReminderKind
    about: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A client wanted more of a product than the `in_stock` that there was."""

    sku: str
    in_stock: int


def plan(envelope: Envelope, client: Client, project: Project, terms: Terms, *, order_number: str) -> Plan | None:
    """Return the reminder that an event of the client is the reason for, None where it is none.

    `order_number` is what the client knows the event's order by, if it has one.
    """
    event = envelope.data
    if isinstance(event, orders.InvoiceIssued):
        return _payment_due(envelope, event, client, project, terms)
    if isinstance(event, cart.CartAbandoned) and terms.cart_abandoned:
        return Plan(
            reminder_id=derive_id("reminder", "CART_ABANDONED", envelope.id),
            conversation=client.conversation,
            kind="CART_ABANDONED",
            about=None,
            text=abandoned_text(project, client, event),
            due=envelope.time,
        )
    if isinstance(event, orders.OrderAdvanced) and event.status == DELIVERED and terms.follow_up_days is not None:
        return Plan(
            reminder_id=derive_id("reminder", "ORDER_FOLLOW_UP", event.order_id),
            conversation=client.conversation,
            kind="ORDER_FOLLOW_UP",
            about=event.order_id,
            text=follow_up_text(project, client, order_number),
            due=envelope.time + timedelta(days=terms.follow_up_days),
        )
    return None


def restock(sku: str, client: Client, project: Project, time: datetime) -> Plan:
    """Return the reminder that there is stock again: one for each client and product."""
    return Plan(
        reminder_id=restock_id(client.conversation, sku),
        conversation=client.conversation,
        kind="RESTOCK",
        about=sku,
        text=restock_text(project, client, sku),
        due=time,
    )


def restock_id(conversation: str, sku: str) -> str:
    """Return the id of the one reminder that tells a client that there is a product again."""
    return derive_id("reminder", "RESTOCK", conversation, sku)


def ending(event: Event) -> Ending | None:
    """Return which reminders an event makes needless, None where it is none."""
    match event:
        case orders.InvoicePaid(invoice_id=invoice_id):
            return Ending(kind="PAYMENT_DUE", about=invoice_id, reason="paid")
        case orders.InvoiceVoided(invoice_id=invoice_id):
            return Ending(kind="PAYMENT_DUE", about=invoice_id, reason="void")
        case dialog.OrderPlaced():
            return Ending(kind="CART_ABANDONED", about=None, reason="ordered")
        case dialog.OrderCancelled(order_id=None) | dialog.ConversationRestarted():
            return Ending(kind="CART_ABANDONED", about=None, reason="no_cart")
        case dialog.OrderCancelled(order_id=str() as order_id):
            return Ending(kind="ORDER_FOLLOW_UP", about=order_id, reason="cancelled")
        case cart.ItemsAdded() | cart.ItemRemoved() | cart.DiscountApplied():
            return Ending(kind="CART_ABANDONED", about=None, reason="cart_changed")
        case _:
            return None


def may_plan(event: Event) -> bool:
    """Whether `plan` could return something, so that the client need not be read for anything else."""
    return isinstance(event, orders.InvoiceIssued | cart.CartAbandoned | orders.OrderAdvanced)


def wishes(event: Event) -> list[Wish]:
    """Return what a client wanted and could not have for want of stock."""
    if not isinstance(event, cart.ItemsRefused):
        return []
    return [
        Wish(sku=line.sku, in_stock=line.in_stock or 0)
        for line in event.lines
        if line.sku is not None and line.reason in OUT_OF_STOCK
    ]


def _payment_due(
    envelope: Envelope, event: orders.InvoiceIssued, client: Client, project: Project, terms: Terms
) -> Plan | None:
    """Some days before the due date or, where the invoice came later than that, on the due date itself."""
    if terms.payment_due_days_before is None:
        return None
    zone = zone_of(client.client_id, terms.time_zone, envelope.time)
    days = (event.due_on - timedelta(days=terms.payment_due_days_before), event.due_on)
    moments = (local_hour(day, terms.payment_due_hour, zone) for day in days)
    due = next((moment for moment in moments if moment > envelope.time), None)
    if due is None:
        return None
    return Plan(
        reminder_id=derive_id("reminder", "PAYMENT_DUE", event.invoice_id),
        conversation=client.conversation,
        kind="PAYMENT_DUE",
        about=event.invoice_id,
        text=payment_text(project, client, event),
        due=due,
    )
