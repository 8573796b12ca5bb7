"""Every command in every state of an order and of an invoice: what it leads to, or the rule that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from chatledger.errors import InvariantViolated
from chatledger.events.base import Event
from chatledger.events.orders import InvoicePaid, OrderAdvanced, OrderLine
from chatledger_billing import invoices, orders
from chatledger_billing.invoices import Invoice, InvoiceStatus
from chatledger_billing.orders import CANCELLABLE, NEXT, Order, OrderStatus
from chatledger_billing.rules import RuleBroken
from tests.services.billing_given import NOON, WATER, placed

CUP = OrderLine(name="cup", quantity=1, unit_price_minor=100)


def order_in(status: OrderStatus) -> Order:
    """An order that came to `status` by its own commands."""
    order = orders.evolve(None, orders.create(placed(lines=(WATER, CUP)), project="order-form", client_id="1"))
    if status is OrderStatus.CANCELLED:
        return orders.evolve(order, orders.cancel(order, "changed my mind"))
    if status is not OrderStatus.DRAFT:
        order = orders.evolve(order, orders.confirm(order))
    while order.status is not status:
        order = orders.evolve(order, orders.advance(order))
    return order


DRAFT, CONFIRMED, PROCESSING = OrderStatus.DRAFT, OrderStatus.CONFIRMED, OrderStatus.PROCESSING
SHIPPED, DELIVERED, CANCELLED = OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.CANCELLED

ORDER_COMMANDS: dict[str, Callable[[Order], Event]] = {
    "add": lambda order: orders.add_item(order, CUP),
    "remove": lambda order: orders.remove_item(order, 0),
    "confirm": orders.confirm,
    "advance": orders.advance,
    "cancel": lambda order: orders.cancel(order, "out of stock"),
}
LEGAL: dict[tuple[str, OrderStatus], OrderStatus] = {
    ("add", DRAFT): DRAFT,
    ("remove", DRAFT): DRAFT,
    ("confirm", DRAFT): CONFIRMED,
    ("advance", CONFIRMED): PROCESSING,
    ("advance", PROCESSING): SHIPPED,
    ("advance", SHIPPED): DELIVERED,
    ("cancel", DRAFT): CANCELLED,
    ("cancel", CONFIRMED): CANCELLED,
    ("cancel", PROCESSING): CANCELLED,
}
RULES = {
    ("add", "*"): "only a draft's items change",
    ("remove", "*"): "only a draft's items change",
    ("confirm", "*"): "only a draft can be confirmed",
    ("advance", DRAFT): "a draft is confirmed before",
    ("advance", "*"): "goes no further",
    ("cancel", CANCELLED): "cancelled already",
    ("cancel", "*"): "can be cancelled until it is shipped",
}


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("command", ORDER_COMMANDS)
def test_every_command_in_every_state_of_an_order(command: str, status: OrderStatus) -> None:
    order = order_in(status)
    assert order.status is status
    if (command, status) in LEGAL:
        after = orders.evolve(order, ORDER_COMMANDS[command](order))
        assert (after.status, after.version) == (LEGAL[command, status], order.version + 1)
    else:
        with pytest.raises(RuleBroken, match=RULES.get((command, status)) or RULES[command, "*"]):
            ORDER_COMMANDS[command](order)


def test_the_tables_of_the_aggregate_say_the_same() -> None:
    assert {before: after for (command, before), after in LEGAL.items() if command == "advance"} == NEXT
    assert {before for command, before in LEGAL if command == "cancel"} == CANCELLABLE


@pytest.mark.parametrize("to", OrderStatus)
@pytest.mark.parametrize("status", NEXT)
def test_a_status_is_never_skipped(status: OrderStatus, to: OrderStatus) -> None:
    order = order_in(status)
    if to is NEXT[status]:
        assert orders.advance(order, to) == OrderAdvanced(order_id=order.id, status=to)
    else:
        with pytest.raises(RuleBroken, match=f"becomes {NEXT[status]} next, not {to}"):
            orders.advance(order, to)


def test_items_of_a_draft_change_its_total_and_nothing_wrong_goes_in() -> None:
    draft = order_in(DRAFT)
    more = orders.evolve(draft, orders.add_item(draft, CUP))
    less = orders.evolve(more, orders.remove_item(more, 0))
    assert [each.total and each.total.minor for each in (draft, more, less)] == [75_100, 75_200, 200]
    with pytest.raises(RuleBroken, match="at least 1"):
        orders.add_item(draft, replace(CUP, quantity=0))
    with pytest.raises(RuleBroken, match="there is no line 2"):
        orders.remove_item(draft, 2)
    with pytest.raises(RuleBroken, match="cancel it instead"):
        orders.remove_item(replace(draft, lines=(CUP,)), 0)
    full = replace(draft, lines=(CUP,) * orders.LINES_MAX)
    with pytest.raises(RuleBroken, match="at most 1000 lines"):
        orders.add_item(full, CUP)


def test_an_order_is_cancelled_for_a_reason() -> None:
    with pytest.raises(RuleBroken, match="a reason has"):
        orders.cancel(order_in(CONFIRMED), "")
    assert order_in(CANCELLED).reason == "changed my mind"


@pytest.mark.parametrize("status", OrderStatus)
def test_a_refused_cancellation_changes_nothing_but_is_noted(status: OrderStatus) -> None:
    order = order_in(status)
    after = orders.evolve(order, orders.refuse_cancellation(order, "too late"))
    assert after == replace(order, version=order.version + 1)


def invoice_in(status: InvoiceStatus) -> Invoice:
    """An invoice over 751.00 that came to `status` by its own commands."""
    order = order_in(CONFIRMED)
    issued = invoices.issue(order, number="INV-2026-000001", issued_on=date(2026, 11, 21), payment_days=14)
    invoice = invoices.evolve(None, issued)
    if status is InvoiceStatus.VOID:
        return invoices.evolve(invoice, invoices.void(invoice, credit_note="CN-2026-000001", reason="wrong"))
    amount = {InvoiceStatus.ISSUED: 0, InvoiceStatus.PARTLY_PAID: 100, InvoiceStatus.PAID: 75_100}[status]
    if amount:
        for event in pay(invoice, amount, "given"):
            invoice = invoices.evolve(invoice, event)
    return invoice


def pay(invoice: Invoice, amount: int, reference: str = "new") -> tuple[Event, ...]:
    return invoices.pay(invoice, reference=reference, amount_minor=amount, method="upi", paid_at=NOON)


def refund(invoice: Invoice, amount: int, reference: str = "back") -> tuple[Event, ...]:
    return invoices.refund(invoice, reference=reference, amount_minor=amount, reason="damaged")


INVOICE_COMMANDS: dict[str, Callable[[Invoice], tuple[Event, ...]]] = {
    "pay 1": lambda invoice: pay(invoice, 1),
    "pay all": lambda invoice: pay(invoice, max(1, invoice.balance_minor)),
    "refund 1": lambda invoice: refund(invoice, 1),
    "void": lambda invoice: (invoices.void(invoice, credit_note="CN-2026-000002", reason="wrong"),),
}
ISSUED, PARTLY, PAID, VOID = InvoiceStatus
OUTCOMES: dict[tuple[str, InvoiceStatus], InvoiceStatus | str] = {
    ("pay 1", ISSUED): PARTLY,
    ("pay 1", PARTLY): PARTLY,
    ("pay 1", PAID): "at most the balance, and that is 0.00 INR",
    ("pay 1", VOID): "a void invoice is not paid",
    ("pay all", ISSUED): PAID,
    ("pay all", PARTLY): PAID,
    ("pay all", PAID): "at most the balance",
    ("pay all", VOID): "a void invoice is not paid",
    ("refund 1", ISSUED): "at most what was paid, and that is 0.00 INR",
    ("refund 1", PARTLY): PARTLY,
    ("refund 1", PAID): PARTLY,
    ("refund 1", VOID): "at most what was paid",
    ("void", ISSUED): VOID,
    ("void", PARTLY): VOID,
    ("void", PAID): VOID,
    ("void", VOID): "void already, by CN-2026-000001",
}


@pytest.mark.parametrize(("command", "status"), OUTCOMES)
def test_every_command_in_every_state_of_an_invoice(command: str, status: InvoiceStatus) -> None:
    invoice, outcome = invoice_in(status), OUTCOMES[command, status]
    assert invoice.status is status
    if isinstance(outcome, InvoiceStatus):
        for event in INVOICE_COMMANDS[command](invoice):
            invoice = invoices.evolve(invoice, event)
        assert invoice.status is outcome
    else:
        with pytest.raises(RuleBroken, match=outcome):
            INVOICE_COMMANDS[command](invoice)


def test_the_outcomes_are_all_there_are() -> None:
    assert set(OUTCOMES) == {(command, status) for command in INVOICE_COMMANDS for status in InvoiceStatus}


@pytest.mark.parametrize("aggregate", [orders, invoices])
def test_no_stream_begins_in_the_middle_or_goes_on_with_another_kind(aggregate) -> None:
    with pytest.raises(InvariantViolated, match="cannot be the first"):
        aggregate.evolve(None, InvoicePaid(invoice_id="1"))
    with pytest.raises(InvariantViolated, match="cannot follow"):
        orders.evolve(order_in(DRAFT), InvoicePaid(invoice_id="1"))
    with pytest.raises(InvariantViolated, match="cannot follow"):
        invoices.evolve(invoice_in(ISSUED), OrderAdvanced(order_id="1", status="shipped"))
