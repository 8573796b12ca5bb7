"""A store's conversation brought to some point, and what billing says about its orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from chatledger.events.dialog import OrderPlaced
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, OrderReported
from chatledger.events.orders import InvoiceDocument
from chatledger.pricing import amounts
from chatledger.projects import Project
from chatledger.shop import Shop
from chatledger.testing import ConversationTest, conversation_test
from tests.unit.projects_at_hand import STORE

CLIENT = "+919900000001"


def at_store(*texts: str, project: Project = STORE) -> ConversationTest:
    """A conversation over Twilio after these texts."""
    return conversation_test(project, client=CLIENT, channel="twilio").given(*texts)


def after_order(*texts: str, project: Project = STORE) -> ConversationTest:
    """A conversation in which 100 bags of cement were ordered, after these further texts."""
    return at_store("hi", "Cement x 100", "1", *texts, project=project)


def shop_of(test: ConversationTest) -> Shop:
    assert test.state.shop is not None
    return test.state.shop


def in_cart(test: ConversationTest) -> dict[str | None, int]:
    return {line.sku: line.quantity for line in shop_of(test).cart}


def placed_in(test: ConversationTest) -> OrderPlaced:
    """The newest order of a conversation."""
    return [each.data for each in test.history if isinstance(each.data, OrderPlaced)][-1]


def order_reported(test: ConversationTest, status: str, *, refused: str | None = None) -> OrderReported:
    order = placed_in(test)
    return OrderReported(order_id=order.order_id, order_number=order.order_number, status=status, refused=refused)


def invoice_reported(
    test: ConversationTest, because: str = "invoice.issued", *, paid_minor: int = 0, status: str = "issued"
) -> InvoiceReported:
    document = replace(invoice_of(placed_in(test)), paid_minor=paid_minor, status=status)
    return InvoiceReported(because=because, invoice=document)


def invoice_of(order: OrderPlaced, *, number: int = 123) -> InvoiceDocument:
    """The invoice of an order, as billing makes it."""
    sums = amounts(order.lines, order.discounts, tax_inclusive=order.tax_inclusive)
    return InvoiceDocument(
        invoice_id=derive_id("invoice", order.order_id),
        number=f"INV-2026-{number:06d}",
        order_id=order.order_id,
        order_number=order.order_number,
        status="issued",
        lines=order.lines,
        currency=order.currency or "",
        tax_inclusive=order.tax_inclusive,
        subtotal_minor=sums.subtotal_minor,
        discounts=order.discounts,
        discount_minor=sums.discount_minor,
        taxes=sums.taxes,
        tax_minor=sums.tax_minor,
        total_minor=sums.total_minor,
        paid_minor=0,
        issued_on=date(2026, 1, 5),
        due_on=date(2026, 1, 19),
    )
