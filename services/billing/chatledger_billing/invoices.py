"""The aggregate Invoice: what is owed for an order, what came in, what went back. Pure.

    (nothing) --issue--> issued --pay--> partly_paid --pay--> paid --refund--> partly_paid, issued
    issued, partly_paid, paid --void--> void

The status follows the amounts: `paid` when nothing is left to pay. An invoice is voided whole, by a credit note,
whatever was paid: the money stays with us until a refund sends it back, which is a command of its own. More than the
balance is not taken, because money that belongs to no invoice would be in nobody's books. That an invoice is overdue
is no event: it depends on the day on which somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from chatledger.errors import InvariantViolated
from chatledger.events.base import Event
from chatledger.events.ids import derive_id
from chatledger.events.money import Money
from chatledger.events.orders import (
    Discount,
    InvoiceDocument,
    InvoiceIssued,
    InvoicePaid,
    InvoiceVoided,
    OrderLine,
    PaymentRecorded,
    PaymentRefunded,
    Tax,
)
from chatledger_billing.orders import Order, OrderStatus
from chatledger_billing.rules import RuleBroken, amount_text, require, require_amount, require_text


class InvoiceStatus(StrEnum):
    """Where an invoice stands."""

    ISSUED = "issued"
    PARTLY_PAID = "partly_paid"
    PAID = "paid"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Money that came in."""

    reference: str
    amount_minor: int
    method: str
    paid_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money that went back."""

    reference: str
    amount_minor: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """One invoice. `version` counts its events, from 1. `order_number` is None in events of schema version 1."""

    id: str
    version: int
    status: InvoiceStatus
    number: str
    order_id: str
    order_number: str | None
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    tax_inclusive: bool
    subtotal_minor: int
    discounts: tuple[Discount, ...]
    discount_minor: int
    taxes: tuple[Tax, ...]
    tax_minor: int
    currency: str
    total_minor: int
    issued_on: date
    due_on: date
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    credit_note: str | None = None
    void_reason: str | None = None

    @property
    def paid_minor(self) -> int:
        """What came in and did not go back."""
        return sum(each.amount_minor for each in self.payments) - sum(each.amount_minor for each in self.refunds)

    @property
    def balance_minor(self) -> int:
        """The total without what was paid."""
        return self.total_minor - self.paid_minor

    def money(self, minor: int) -> Money:
        """Return an amount in the invoice's currency."""
        return Money(minor=minor, currency=self.currency)


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
    amounts, currency = order.amounts, order.currency
    if amounts is None or currency is None:
        raise RuleBroken("an order without a price is not invoiced")
    return InvoiceIssued(
        invoice_id=invoice_id_of(order.id),
        number=number,
        order_id=order.id,
        project=order.project,
        client_id=order.client_id,
        lines=order.lines,
        currency=currency,
        total_minor=amounts.total_minor,
        issued_on=issued_on,
        due_on=due_on(issued_on, payment_days),
        order_number=order.number,
        tax_inclusive=order.tax_inclusive,
        subtotal_minor=amounts.subtotal_minor,
        discounts=order.discounts,
        discount_minor=amounts.discount_minor,
        taxes=amounts.taxes,
        tax_minor=amounts.tax_minor,
    )


def due_on(issued_on: date, payment_days: int) -> date:
    """Return the last day to pay. Raises RuleBroken beyond the calendar."""
    try:
        return issued_on + timedelta(days=payment_days)
    except OverflowError as wrong:
        raise RuleBroken("an invoice is due before the year 10000") from wrong


def settle(invoice: Invoice) -> tuple[Event, ...]:
    """Return the event that says that nothing is left to pay, where that is so: an invoice over nothing is paid."""
    return (InvoicePaid(invoice_id=invoice.id),) if invoice.balance_minor == 0 else ()


def pay(invoice: Invoice, *, reference: str, amount_minor: int, method: str, paid_at: datetime) -> tuple[Event, ...]:
    """Take a payment; none are returned where it was taken before, by reference and amount. Raises RuleBroken."""
    require_text("a reference", reference)
    known = {each.reference: each.amount_minor for each in invoice.payments}
    if _is_known("payment", invoice, reference, amount_minor, known):
        return ()
    _require_own(reference, [each.reference for each in invoice.refunds], "refund")
    require_amount("a payment", amount_minor)
    require_text("a method", method)
    require(invoice.status is not InvoiceStatus.VOID, "a void invoice is not paid")
    require(
        amount_minor <= invoice.balance_minor,
        f"a payment is at most the balance, and that is {amount_text(invoice.money(invoice.balance_minor))}",
    )
    paid = PaymentRecorded(
        invoice_id=invoice.id, reference=reference, amount_minor=amount_minor, method=method, paid_at=paid_at
    )
    return (paid, *settle(evolve(invoice, paid)))


def refund(invoice: Invoice, *, reference: str, amount_minor: int, reason: str) -> tuple[Event, ...]:
    """Send money back; none are returned where that was done before, by reference and amount. Raises RuleBroken."""
    require_text("a reference", reference)
    known = {each.reference: each.amount_minor for each in invoice.refunds}
    if _is_known("refund", invoice, reference, amount_minor, known):
        return ()
    _require_own(reference, [each.reference for each in invoice.payments], "payment")
    require_amount("a refund", amount_minor)
    require_text("a reason", reason)
    require(
        amount_minor <= invoice.paid_minor,
        f"a refund is at most what was paid, and that is {amount_text(invoice.money(invoice.paid_minor))}",
    )
    return (PaymentRefunded(invoice_id=invoice.id, reference=reference, amount_minor=amount_minor, reason=reason),)


def require_voidable(invoice: Invoice, reason: str) -> None:
    """Raise RuleBroken where `void` would: to be asked before a credit note is numbered."""
    require_text("a reason", reason)
    require(invoice.status is not InvoiceStatus.VOID, f"this invoice is void already, by {invoice.credit_note}")


def void(invoice: Invoice, *, credit_note: str, reason: str) -> InvoiceVoided:
    """Take the invoice back by a credit note over its total. Raises RuleBroken."""
    require_voidable(invoice, reason)
    return InvoiceVoided(invoice_id=invoice.id, credit_note=credit_note, reason=reason)


def evolve(invoice: Invoice | None, event: Event) -> Invoice:
    """Return the invoice after `event`. Raises InvariantViolated for an event that cannot have happened."""
    if invoice is None:
        if isinstance(event, InvoiceIssued):
            return _issued(event)
        raise InvariantViolated(f"{event.type} cannot be the first event of an invoice")
    version = invoice.version + 1
    match event:
        case PaymentRecorded():
            payment = Payment(
                reference=event.reference, amount_minor=event.amount_minor, method=event.method, paid_at=event.paid_at
            )
            return _with_status(replace(invoice, version=version, payments=(*invoice.payments, payment)))
        case PaymentRefunded():
            sent = Refund(reference=event.reference, amount_minor=event.amount_minor, reason=event.reason)
            return _with_status(replace(invoice, version=version, refunds=(*invoice.refunds, sent)))
        case InvoicePaid():
            return replace(invoice, version=version, status=InvoiceStatus.PAID)
        case InvoiceVoided():
            voided = replace(invoice, version=version, credit_note=event.credit_note, void_reason=event.reason)
            return replace(voided, status=InvoiceStatus.VOID)
    raise InvariantViolated(f"{event.type} cannot follow in the stream of invoice {invoice.id}")


def document(invoice: Invoice) -> InvoiceDocument:
    """Return the invoice as it is shown to a client."""
    return InvoiceDocument(
        invoice_id=invoice.id,
        number=invoice.number,
        order_id=invoice.order_id,
        order_number=invoice.order_number or "",
        status=str(invoice.status),
        lines=invoice.lines,
        currency=invoice.currency,
        tax_inclusive=invoice.tax_inclusive,
        subtotal_minor=invoice.subtotal_minor,
        discounts=invoice.discounts,
        discount_minor=invoice.discount_minor,
        taxes=invoice.taxes,
        tax_minor=invoice.tax_minor,
        total_minor=invoice.total_minor,
        paid_minor=invoice.paid_minor,
        issued_on=invoice.issued_on,
        due_on=invoice.due_on,
    )


def _issued(event: InvoiceIssued) -> Invoice:
    return Invoice(
        id=event.invoice_id,
        version=1,
        status=InvoiceStatus.ISSUED,
        number=event.number,
        order_id=event.order_id,
        order_number=event.order_number,
        project=event.project,
        client_id=event.client_id,
        lines=event.lines,
        tax_inclusive=event.tax_inclusive,
        subtotal_minor=event.total_minor if event.subtotal_minor is None else event.subtotal_minor,
        discounts=event.discounts,
        discount_minor=event.discount_minor,
        taxes=event.taxes,
        tax_minor=event.tax_minor,
        currency=event.currency,
        total_minor=event.total_minor,
        issued_on=event.issued_on,
        due_on=event.due_on,
    )


def _with_status(invoice: Invoice) -> Invoice:
    if invoice.status is InvoiceStatus.VOID:
        return invoice
    if invoice.balance_minor == 0:
        return replace(invoice, status=InvoiceStatus.PAID)
    return replace(invoice, status=InvoiceStatus.PARTLY_PAID if invoice.paid_minor else InvoiceStatus.ISSUED)


def _is_known(kind: str, invoice: Invoice, reference: str, amount_minor: int, known: dict[str, int]) -> bool:
    """Whether this was done before. Raises RuleBroken when it was, with another amount."""
    if reference not in known:
        return False
    taken = known[reference]
    recorded = f"the {kind} {reference!r} is recorded already, over {amount_text(invoice.money(taken))}"
    require(taken == amount_minor, recorded)
    return True


def _require_own(reference: str, others: list[str], kind: str) -> None:
    require(reference not in others, f"{reference!r} is the reference of a {kind}: each has its own")
