"""The arithmetic of an invoice: whatever is paid, refunded or voided, in whatever order, the books balance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chatledger.events.base import Event
from chatledger.events.money import Money
from chatledger.events.orders import Discount, InvoiceIssued, InvoicePaid, OrderLine
from chatledger.pricing import amounts
from chatledger_billing import decisions, invoices
from chatledger_billing.invoices import Invoice, InvoiceStatus, document
from chatledger_billing.orders import Order
from chatledger_billing.rules import RuleBroken, amount_text
from tests.services.billing_given import NOON, PROJECTS, WATER, cause, placed

DECIMALS = {"JPY": 0, "INR": 2, "EUR": 2, "KWD": 3}
rates = st.sampled_from([None, 0, 500, 1_200, 1_800, 2_800])
lines = st.lists(
    st.builds(
        OrderLine,
        name=st.just("cement"),
        quantity=st.integers(1, 1_000),
        unit_price_minor=st.integers(0, 10**7),
        tax_bp=rates,
    ),
    min_size=1,
    max_size=8,
)
discounts = st.lists(
    st.one_of(
        st.builds(Discount, name=st.just("share"), percent_bp=st.integers(1, 10_000)),
        st.builds(Discount, name=st.just("amount"), amount_minor=st.integers(1, 10**8)),
    ),
    max_size=3,
)


def confirmed(items, currency: str, taken_off=(), *, tax_inclusive: bool = False) -> Order:
    order = replace(placed(lines=items, currency=currency), discounts=tuple(taken_off), tax_inclusive=tax_inclusive)
    return decisions.place(cause(order), order, PROJECTS).order


def issued(order: Order) -> InvoiceIssued:
    return invoices.issue(order, number="INV-2026-000001", issued_on=date(2026, 11, 21), payment_days=14)


class Books(RuleBasedStateMachine):
    """Payments, refunds and a void in any order and of any size, next to a count of what should have come of it."""

    @initialize(items=lines, currency=st.sampled_from(sorted(DECIMALS)), taken_off=discounts, inclusive=st.booleans())
    def issue(self, items, currency: str, taken_off, inclusive: bool) -> None:
        self.invoice = invoices.evolve(None, issued(confirmed(items, currency, taken_off, tax_inclusive=inclusive)))
        self.came: dict[str, int] = {}
        self.went: dict[str, int] = {}
        self.voided = False
        self.apply(invoices.settle(self.invoice))

    def apply(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self.invoice = invoices.evolve(self.invoice, event)

    @property
    def paid(self) -> int:
        return sum(self.came.values()) - sum(self.went.values())

    @rule(reference=st.sampled_from("abcde"), part=st.integers(-1, 12), off=st.integers(-1, 1))
    def pay(self, reference: str, part: int, off: int) -> None:
        amount = self.invoice.total_minor * part // 10 + off
        is_known, is_same = reference in self.came, self.came.get(reference) == amount
        fits = 0 < amount <= self.invoice.total_minor - self.paid and not self.voided and reference not in self.went
        try:
            events = invoices.pay(self.invoice, reference=reference, amount_minor=amount, method="upi", paid_at=NOON)
        except RuleBroken:
            assert not is_same
            assert is_known or not fits
            return
        assert is_same or (fits and not is_known)
        assert (events == ()) is is_same
        self.came[reference] = amount
        self.apply(events)
        settled = any(isinstance(event, InvoicePaid) for event in events)
        assert settled is (not is_same and self.paid == self.invoice.total_minor)

    @rule(reference=st.sampled_from("cdefg"), part=st.integers(-1, 12), off=st.integers(-1, 1))
    def refund(self, reference: str, part: int, off: int) -> None:
        amount = self.paid * part // 10 + off
        is_known, is_same = reference in self.went, self.went.get(reference) == amount
        fits = 0 < amount <= self.paid and reference not in self.came
        try:
            events = invoices.refund(self.invoice, reference=reference, amount_minor=amount, reason="damaged")
        except RuleBroken:
            assert not is_same
            assert is_known or not fits
            return
        assert is_same or (fits and not is_known)
        assert (events == ()) is is_same
        self.went[reference] = amount
        self.apply(events)

    @rule(likely=st.integers(0, 9))
    def void(self, likely: int) -> None:
        if likely:
            return
        try:
            self.apply((invoices.void(self.invoice, credit_note="CN-2026-000001", reason="wrong"),))
        except RuleBroken:
            assert self.voided
        self.voided = True

    @invariant()
    def the_books_balance(self) -> None:
        invoice: Invoice | None = getattr(self, "invoice", None)
        if invoice is None:
            return
        assert invoice.paid_minor == self.paid >= 0
        assert invoice.paid_minor + invoice.balance_minor == invoice.total_minor
        assert invoice.balance_minor >= 0
        assert document(invoice).paid_minor == self.paid
        wanted = InvoiceStatus.PARTLY_PAID if self.paid else InvoiceStatus.ISSUED
        if invoice.balance_minor == 0:
            wanted = InvoiceStatus.PAID
        assert invoice.status is (InvoiceStatus.VOID if self.voided else wanted)


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase


@given(items=lines, currency=st.sampled_from(sorted(DECIMALS)), taken_off=discounts, inclusive=st.booleans())
def test_an_invoice_is_the_sum_of_its_parts_to_the_minor_unit(items, currency, taken_off, inclusive: bool) -> None:
    event = issued(confirmed(items, currency, taken_off, tax_inclusive=inclusive))
    assert event.subtotal_minor == sum(line.quantity * (line.unit_price_minor or 0) for line in items)
    assert event.tax_minor == sum(tax.tax_minor for tax in event.taxes)
    added = 0 if inclusive else event.tax_minor
    assert event.total_minor == (event.subtotal_minor or 0) - event.discount_minor + added
    same = amounts(items, taken_off, tax_inclusive=inclusive)
    assert (same.total_minor, same.taxes) == (event.total_minor, event.taxes)
    shown = document(invoices.evolve(None, event))
    assert (shown.total_minor, shown.subtotal_minor, shown.taxes) == (
        event.total_minor,
        event.subtotal_minor,
        event.taxes,
    )
    decimals = (
        amount_text(Money(minor=event.total_minor, currency=currency)).removesuffix(f" {currency}").partition(".")[2]
    )
    assert len(decimals) == DECIMALS[currency]


def test_without_tax_and_discount_the_total_is_that_of_the_lines() -> None:
    event = issued(confirmed((WATER,), "INR"))
    assert (event.total_minor, event.subtotal_minor, event.discount_minor, event.tax_minor) == (75_000, 75_000, 0, 0)
    assert (event.taxes, event.discounts, event.order_number) == ((), (), placed().order_number)


def test_tax_is_in_the_price_or_on_top_of_it() -> None:
    taxed = (replace(WATER, tax_bp=1_800),)
    inside, on_top = (issued(confirmed(taxed, "INR", tax_inclusive=inclusive)) for inclusive in (True, False))
    assert (inside.total_minor, inside.tax_minor) == (75_000, 11_441)
    assert (on_top.total_minor, on_top.tax_minor) == (88_500, 13_500)


def test_an_invoice_of_schema_version_1_has_its_total_as_subtotal() -> None:
    old = replace(issued(confirmed((WATER,), "INR")), subtotal_minor=None, order_number=None)
    shown = document(invoices.evolve(None, old))
    assert (shown.subtotal_minor, shown.order_number) == (75_000, "")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"discounts": (Discount(name="both", percent_bp=1, amount_minor=1),)}, "either a share or an amount"),
        ({"discounts": (Discount(name="neither"),)}, "either a share or an amount"),
        ({"discounts": (Discount(name="more than all", percent_bp=10_001),)}, "a share is 0 to"),
        ({"discounts": (Discount(name="negative", amount_minor=-1),)}, "not negative"),
        ({"discounts": (Discount(name="", amount_minor=1),)}, "a discount's name"),
        ({"lines": (replace(WATER, tax_bp=100_001),)}, "a tax rate is 0 to"),
        ({"lines": (replace(WATER, unit_price_minor=2**52, quantity=1, tax_bp=100_000),)}, "a total is at most"),
        ({"lines": (WATER,) * 1_001}, "at most 1000 lines"),
    ],
)
def test_an_order_that_cannot_be_invoiced_is_refused_before(wrong: dict, match: str) -> None:
    order = replace(placed(), **wrong)
    with pytest.raises(RuleBroken, match=match):
        decisions.place(cause(order), order, PROJECTS)


def pay(invoice: Invoice, reference: str, amount: int, method: str = "upi") -> tuple[Event, ...]:
    return invoices.pay(invoice, reference=reference, amount_minor=amount, method=method, paid_at=NOON)


def test_a_payment_is_told_apart_by_its_reference() -> None:
    invoice = invoices.evolve(None, issued(confirmed((WATER,), "INR")))
    for event in pay(invoice, "upi-1", 50_000):
        invoice = invoices.evolve(invoice, event)
    assert pay(invoice, "upi-1", 50_000) == ()
    with pytest.raises(RuleBroken, match=r"the payment 'upi-1' is recorded already, over 500\.00 INR"):
        pay(invoice, "upi-1", 50_001)
    with pytest.raises(RuleBroken, match=r"at most the balance, and that is 250\.00 INR"):
        pay(invoice, "upi-2", 25_001)
    with pytest.raises(RuleBroken, match="'upi-1' is the reference of a payment"):
        invoices.refund(invoice, reference="upi-1", amount_minor=1, reason="damaged")
    voided = invoices.evolve(invoice, invoices.void(invoice, credit_note="CN-2026-000001", reason="wrong"))
    assert pay(voided, "upi-1", 50_000) == ()


@pytest.mark.parametrize(
    ("reference", "amount", "method"), [("", 1, "upi"), ("a\0", 1, "upi"), ("a", 1, ""), ("a", 0, "u")]
)
def test_a_payment_has_a_reference_an_amount_and_a_method(reference: str, amount: int, method: str) -> None:
    invoice = invoices.evolve(None, issued(confirmed((WATER,), "INR")))
    with pytest.raises(RuleBroken):
        pay(invoice, reference, amount, method)
