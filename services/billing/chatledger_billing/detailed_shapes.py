"""The shapes of what the API for a shop's staff shows beyond `views`: amounts by part, payments, what each event said.

Their names are written in camelCase, as the bodies of the commands are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

from chatledger_billing.views import AmountView, HistoryView, LineView, LinkView, OrderSummary

CAMEL = ConfigDict(alias_generator=to_camel, populate_by_name=True)


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedHistoryView(HistoryView):
    """One event: `detail` is the status that it led to, the rule, the payment's reference or the reason."""

    detail: str | None


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedLineView(LineView):
    """One line. Without a price there are no amounts."""


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedOrderSummary(OrderSummary):
    """An order in a list, with its amounts by part. `reason` is why it was cancelled."""

    lines: list[DetailedLineView]  # type: ignore[assignment]  # the same fields, written in camelCase
    client_id: str
    reason: str | None
    subtotal: AmountView | None
    discount: AmountView | None
    tax: AmountView | None


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedOrderView(DetailedOrderSummary):
    """One order, with what happened to it."""

    history: list[DetailedHistoryView]


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedOrderPage:
    """Orders, newest first. `nextCursor` asks for the following page; None on the last one."""

    orders: list[DetailedOrderSummary]
    next_cursor: str | None


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceSummary:
    """An invoice in a list. `balance` is what is still to be paid, and nothing where it is void."""

    id: str
    number: str
    project: str
    conversation: str
    client_id: str
    status: str
    overdue: bool
    total: AmountView
    paid: AmountView
    balance: AmountView
    issued_on: date
    due_on: date
    order: LinkView
    pdf: str


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePage:
    """Invoices, newest first. `nextCursor` asks for the following page; None on the last one."""

    invoices: list[InvoiceSummary]
    next_cursor: str | None


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLineView:
    """One line. `tax_bp` is its tax rate in basis points, None where it is not taxed."""

    name: str
    sku: str | None
    quantity: int
    unit: str | None
    tax_bp: int | None
    unit_price: AmountView
    total: AmountView


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountView:
    """A discount: a share in basis points, or an amount."""

    name: str
    percent_bp: int | None
    amount: AmountView | None


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaxView:
    """The tax at one rate, and the net amount that it is on."""

    rate_bp: int
    base: AmountView
    tax: AmountView


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentView:
    """Money that came in."""

    reference: str
    amount: AmountView
    method: str
    paid_at: datetime


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class RefundView:
    """Money that went back."""

    reference: str
    amount: AmountView
    reason: str


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteView:
    """What took the invoice back: over its whole total."""

    number: str
    reason: str


@with_config(CAMEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedInvoiceView(InvoiceSummary):
    """One invoice, whole. With `tax_inclusive` the prices contain the tax: total = subtotal - discount; else + tax."""

    lines: list[InvoiceLineView]
    tax_inclusive: bool
    subtotal: AmountView
    discounts: list[DiscountView]
    discount: AmountView
    taxes: list[TaxView]
    tax: AmountView
    payments: list[PaymentView]
    refunds: list[RefundView]
    credit_note: CreditNoteView | None
    history: list[DetailedHistoryView]
