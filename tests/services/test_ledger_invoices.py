"""`verify` on what a store bills: taxes and discounts, payments, credit notes; each planted violation is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chatledger.events import dialog
from chatledger.events.orders import (
    Discount,
    InvoiceIssued,
    InvoicePaid,
    InvoiceVoided,
    OrderLine,
    PaymentRecorded,
    PaymentRefunded,
)
from tests.support.ledger import Placed
from tests.support.ledger_plants import changed, is_a, of, report_on, require_complaint, without
from tests.support.store_history import START, StoreHistory, invoice_of, payments_of

pytestmark = pytest.mark.postgres


def right_history() -> Placed:
    """Two clients; of three orders one is paid in parts, one is refunded, one is cancelled."""
    first = StoreHistory(client="+919900000001")
    payments_of(first, first.ordered(tax_inclusive=True, invoice_number=1), [40, 60])
    cancelled = first.ordered(tax_inclusive=False, invoice_number=2)
    cancel(first, cancelled)
    second = StoreHistory(client="+919900000002")
    returned = second.ordered(tax_inclusive=False, invoice_number=3)
    payments_of(second, returned, [100])
    refund(second, returned, 1_000)
    return [*first.placed, *second.placed]


def cancel(history: StoreHistory, order_id: str) -> None:
    """Billing cancels an order, and its invoice with it."""
    order, invoice = f"order-{order_id}", f"invoice-{invoice_of(order_id)}"
    history.billed(history.of_stream(order), order, dialog.OrderCancelled(reason="client", order_id=order_id))
    voided = InvoiceVoided(invoice_id=invoice_of(order_id), credit_note="CN-2026-000001", reason="order_cancelled")
    history.billed(history.of_stream(order), invoice, voided)


def refund(history: StoreHistory, order_id: str, amount_minor: int) -> None:
    """Some money goes back."""
    stream = f"invoice-{invoice_of(order_id)}"
    sent = PaymentRefunded(
        invoice_id=invoice_of(order_id), reference="RF-1", amount_minor=amount_minor, reason="broken bags"
    )
    history.billed(history.of_stream(stream), stream, sent)


async def test_a_right_history_has_no_violation(postgres_url):
    report = await report_on(postgres_url, right_history())
    assert report.violations == 0, report.findings
    assert of(report, "I6").checked > 0


def more(amount: int) -> Callable[[int], int]:
    return lambda before: before + amount


def after_the_void(placed: Placed) -> Placed:
    topic, voided = next((topic, each) for topic, each in placed if isinstance(each.data, InvoiceVoided))
    assert isinstance(voided.data, InvoiceVoided)
    paid = PaymentRecorded(
        invoice_id=voided.data.invoice_id, reference="UTR-9", amount_minor=1, method="bank", paid_at=START
    )
    version = (voided.stream_version or 0) + 1
    late = replace(voided, id=voided.id[:-4] + "0000", stream_version=version, causation_id=voided.id, data=paid)
    return [*placed, (topic, late)]


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        pytest.param(changed(InvoiceIssued, total_minor=more(1)), "total ", id="total"),
        pytest.param(changed(InvoiceIssued, subtotal_minor=more(1)), "subtotal 600000, sum", id="subtotal"),
        pytest.param(changed(InvoiceIssued, tax_minor=more(1)), "sum of its taxes", id="sum of taxes"),
        pytest.param(changed(InvoiceIssued, discount_minor=-1), "discount -1 of", id="discount below nothing"),
        pytest.param(
            changed(InvoiceIssued, subtotal_minor=None, taxes=(), tax_minor=0, discount_minor=0),
            ", sum of its lines 599999",
            id="total alone",
        ),
        pytest.param(
            changed(
                InvoiceIssued, taxes=lambda taxes: (replace(taxes[0], tax_minor=taxes[0].tax_minor + 1), *taxes[1:])
            ),
            "is right",
            id="tax within prices",
        ),
        pytest.param(
            changed(
                InvoiceIssued,
                which=1,
                taxes=lambda taxes: (replace(taxes[0], base_minor=taxes[0].base_minor + 100), *taxes[1:]),
            ),
            "is right",
            id="tax on top of prices",
        ),
        pytest.param(
            changed(InvoiceIssued, discounts=(Discount(name="friend", percent_bp=5_000),)),
            "with other discounts",
            id="discounts",
        ),
        pytest.param(
            changed(dialog.OrderPlaced, tax_inclusive=lambda before: not before),
            "other terms of tax",
            id="terms of tax",
        ),
        pytest.param(
            changed(dialog.OrderPlaced, lines=(OrderLine(name="Sand", quantity=1, unit_price_minor=1),)),
            "other lines",
            id="lines",
        ),
        pytest.param(
            changed(PaymentRecorded, which=1, amount_minor=more(1)), " is paid", id="more than the total is paid"
        ),
        pytest.param(changed(PaymentRecorded, amount_minor=-5), "payment.recorded of -5", id="payment below nothing"),
        pytest.param(changed(PaymentRefunded, amount_minor=10**9), "is paid", id="more goes back than came"),
        pytest.param(changed(PaymentRecorded, which=1, reference="UTR-0"), "UTR-0 stands twice", id="reference twice"),
        pytest.param(
            changed(PaymentRecorded, which=1, amount_minor=more(-1)), "it is called paid at", id="paid too early"
        ),
        pytest.param(without(is_a(InvoiceIssued)), "was never issued", id="payment of no invoice"),
        pytest.param(after_the_void, "payment.recorded when it was void", id="payment of a void invoice"),
        pytest.param(without(is_a(InvoiceVoided)), "is not voided", id="invoice of a cancelled order"),
        pytest.param(
            changed(InvoiceVoided, credit_note="CN-2026-000002"),
            "credit note CN-2026-000002 where number 1 should be",
            id="gap in credit notes",
        ),
        pytest.param(
            changed(InvoiceIssued, which=2, number="INV-2026-000004"),
            "invoice INV-2026-000004 where number 3 should be",
            id="gap in invoices",
        ),
    ],
)
async def test_a_planted_violation_is_found(postgres_url, plant, complaint):
    require_complaint(await report_on(postgres_url, plant(right_history())), "I6", complaint)


async def test_an_invoice_is_compared_with_an_order_of_an_older_version(postgres_url):
    """An order of version 1 has no units, rates or discounts: what it does not say differs from nothing."""
    history = StoreHistory()
    plain = (OrderLine(name="drinking water", quantity=3, unit_price_minor=25_000),)
    history.ordered(tax_inclusive=False)
    placed = changed(dialog.OrderPlaced, lines=plain, discounts=())(history.placed)
    placed = changed(
        InvoiceIssued,
        lines=plain,
        discounts=(),
        subtotal_minor=None,
        discount_minor=0,
        taxes=(),
        tax_minor=0,
        total_minor=75_000,
    )(placed)
    assert of(await report_on(postgres_url, without(is_a(InvoicePaid))(placed)), "I6").violations == 0
