"""Orders, invoices and payments, on the topic chat.billing, in the streams `order-<id>` and `invoice-<id>`.

Amounts are integers in minor units of the currency; rates are integers in basis points (1/100 %), so 18 % is 1800.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from pydantic import AwareDatetime

from chatledger.events.base import Event, Integer, PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One thing in an order. `unit_price_minor` is in minor units of the order's currency, None without a price.

    `unit` is what is counted (bag, m); `tax_bp` is its tax rate in basis points, None where none is known.
    """

    name: str
    quantity: Integer
    unit_price_minor: Integer | None
    sku: str | None = None
    unit: str | None = None
    tax_bp: Integer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """What is taken off an order: a share in basis points, or an amount in minor units. `name` is shown."""

    name: str
    percent_bp: Integer | None = None
    amount_minor: Integer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """The tax at one rate: `base_minor` is the net amount that it is on."""

    rate_bp: Integer
    base_minor: Integer
    tax_minor: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceDocument:
    """An invoice as it is shown to a client, complete: what its text and its PDF are made from.

    With `tax_inclusive` the lines' prices contain the tax: total = subtotal - discount. Without: + tax.
    """

    invoice_id: str
    number: str
    order_id: str
    order_number: str
    status: str
    lines: tuple[OrderLine, ...]
    currency: str
    tax_inclusive: bool
    subtotal_minor: Integer
    discounts: tuple[Discount, ...]
    discount_minor: Integer
    taxes: tuple[Tax, ...]
    tax_minor: Integer
    total_minor: Integer
    paid_minor: Integer
    issued_on: date
    due_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCreated(Event):
    """Billing has the order (as a draft)."""

    type: ClassVar[str] = "order.created"
    version: ClassVar[int] = 2

    order_id: str
    order_number: str
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str | None
    address: PersonalText
    phone: PersonalText
    discounts: tuple[Discount, ...] = ()
    tax_inclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderItemAdded(Event):
    """A line was added to a draft."""

    type: ClassVar[str] = "order.item_added"

    order_id: str
    line: OrderLine


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderItemRemoved(Event):
    """The line at `index`, counted from 0, was taken out of a draft."""

    type: ClassVar[str] = "order.item_removed"

    order_id: str
    index: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderConfirmed(Event):
    """The order is to be carried out."""

    type: ClassVar[str] = "order.confirmed"

    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAdvanced(Event):
    """The order came to its next status: processing, shipped or delivered."""

    type: ClassVar[str] = "order.advanced"

    order_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationRefused(Event):
    """The client asked to cancel the order, and a rule forbids it."""

    type: ClassVar[str] = "order.cancellation_refused"

    order_id: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceIssued(Event):
    """A confirmed order was invoiced. `number` has no gaps within a project and a year. Amounts in minor units.

    `subtotal_minor` is the sum of the lines; None, as in version 1, means that the total is.
    """

    type: ClassVar[str] = "invoice.issued"
    version: ClassVar[int] = 2

    invoice_id: str
    number: str
    order_id: str
    project: str
    client_id: str
    lines: tuple[OrderLine, ...]
    currency: str
    total_minor: Integer
    issued_on: date
    due_on: date
    order_number: str | None = None
    tax_inclusive: bool = False
    subtotal_minor: Integer | None = None
    discounts: tuple[Discount, ...] = ()
    discount_minor: Integer = 0
    taxes: tuple[Tax, ...] = ()
    tax_minor: Integer = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRecorded(Event):
    """Money came in for an invoice. `reference` is the payer's or the bank's, and unique within the invoice."""

    type: ClassVar[str] = "payment.recorded"

    invoice_id: str
    reference: str
    amount_minor: Integer
    method: str
    paid_at: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRefunded(Event):
    """Money went back. `reference` is the refund's own; `amount_minor` is positive."""

    type: ClassVar[str] = "payment.refunded"

    invoice_id: str
    reference: str
    amount_minor: Integer
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePaid(Event):
    """The last payment settled the invoice."""

    type: ClassVar[str] = "invoice.paid"

    invoice_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceVoided(Event):
    """The invoice is not to be paid: the credit note takes it back. Its numbers have no gaps either."""

    type: ClassVar[str] = "invoice.voided"

    invoice_id: str
    credit_note: str
    reason: str


EVENTS: tuple[type[Event], ...] = (
    OrderCreated,
    OrderItemAdded,
    OrderItemRemoved,
    OrderConfirmed,
    OrderAdvanced,
    CancellationRefused,
    InvoiceIssued,
    PaymentRecorded,
    PaymentRefunded,
    InvoicePaid,
    InvoiceVoided,
)
