"""An invoice as a message: each amount where there is one, written as people of the region write it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.orders import Discount, InvoiceDocument, OrderLine
from chatledger.flows.invoice_text import format_day, invoice_text
from chatledger.pricing import amounts
from tests.unit.projects_at_hand import STORE
from tests.unit.strategies import events_of, texts

LINES = (
    OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM-50", unit="bag", tax_bp=2_800),
    OrderLine(name="River sand", quantity=200, unit_price_minor=220, sku="SAND-R", unit="kg", tax_bp=500),
    OrderLine(name="Delivery", quantity=1, unit_price_minor=50_000),
)


def invoice(*, tax_inclusive: bool, discounts: tuple[Discount, ...] = (), paid_minor: int = 0) -> InvoiceDocument:
    sums = amounts(LINES, discounts, tax_inclusive=tax_inclusive)
    return InvoiceDocument(
        invoice_id="i",
        number="INV-2026-000001",
        order_id="o",
        order_number="7QK2-M0XF",
        status="issued",
        lines=LINES,
        currency="INR",
        tax_inclusive=tax_inclusive,
        subtotal_minor=sums.subtotal_minor,
        discounts=discounts,
        discount_minor=sums.discount_minor,
        taxes=sums.taxes,
        tax_minor=sums.tax_minor,
        total_minor=sums.total_minor,
        paid_minor=paid_minor,
        issued_on=date(2026, 1, 5),
        due_on=date(2026, 1, 19),
    )


HEAD = (
    "Invoice INV-2026-000001\nOrder 7QK2-M0XF, 5 Jan 2026\nCement (bag): 100 × ₹50 = ₹5,000\n"
    "River sand (kg): 200 × ₹2.20 = ₹440\nDelivery: 1 × ₹500 = ₹500\n"
)


def test_prices_that_contain_the_tax_say_how_much() -> None:
    assert invoice_text(invoice(tax_inclusive=True), STORE, "en") == (
        f"{HEAD}Total: ₹5,940\nTax 5% included: ₹20.95\nTax 28% included: ₹1,093.75\nDue: 19 Jan 2026"
    )


def test_tax_on_top_discount_and_payments_each_have_their_line() -> None:
    document = invoice(tax_inclusive=False, discounts=(Discount(name="Sale", percent_bp=1_000),), paid_minor=100_000)
    assert invoice_text(document, STORE, "en") == (
        f"{HEAD}Subtotal: ₹5,940\nDiscount (Sale): −₹594\nTax 5%: ₹19.80\nTax 28%: ₹1,260\nTotal: ₹6,625.80\n"
        "Paid: ₹1,000\nBalance: ₹5,625.80\nDue: 19 Jan 2026"
    )


def test_a_paid_invoice_is_not_due_and_a_void_one_is_not_to_be_paid() -> None:
    document = invoice(tax_inclusive=True)
    paid = invoice_text(replace(document, status="paid", paid_minor=document.total_minor), STORE, "en")
    assert paid.endswith("Paid: ₹5,940\nBalance: ₹0")
    assert invoice_text(replace(document, status="void"), STORE, "en").endswith("is void and need not be paid.")


def test_a_long_invoice_says_how_many_lines_more_there_are() -> None:
    long = replace(invoice(tax_inclusive=True), lines=LINES * 20)
    text = invoice_text(long, STORE, "en")
    assert "\n… and 50 more\nTotal: " in text
    assert len(text) < 1_600


@pytest.mark.parametrize(
    ("language", "region", "written"),
    [
        ("en", "IN", "5 Jan 2026"),
        ("en", "US", "Jan 5, 2026"),
        ("de", "DE", "05.01.2026"),
        ("xx", "YY", "Jan 5, 2026"),
        ("not a language", "?", "Jan 5, 2026"),
    ],
)
def test_a_day_is_written_as_people_of_the_region_do(language: str, region: str, written: str) -> None:
    assert format_day(date(2026, 1, 5), language, region) == written


amounts_minor = st.integers(-(10**18), 10**18)
any_line = st.builds(
    OrderLine,
    name=texts,
    quantity=st.integers(0, 10**6),
    unit_price_minor=st.none() | st.integers(0, 10**12),
    unit=st.none() | texts,
)


@given(events_of(InvoiceDocument), st.lists(any_line), amounts_minor, st.sampled_from(["INR", "JPY", "KWD", "EUR"]))
def test_any_invoice_can_be_written(
    document: InvoiceDocument, lines: list[OrderLine], minor: int, currency: str
) -> None:
    text = invoice_text(
        replace(document, currency=currency, lines=tuple(lines), total_minor=minor, paid_minor=minor // 2), STORE, "en"
    )
    assert text.startswith("Invoice")
