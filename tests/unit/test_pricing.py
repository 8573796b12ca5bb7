"""What an order comes to: in whole minor units everything adds up, whatever the lines, rates and discounts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.money import Money, format_money
from chatledger.events.orders import Discount, OrderLine, Tax
from chatledger.pricing import FULL_BP, Amounts, amounts

RATES = [None, 0, 1, 25, 500, 1_200, 1_800, 2_800, 10_000, 100_000]

lines = st.lists(
    st.builds(
        OrderLine,
        name=st.just("thing"),
        quantity=st.integers(0, 10_000),
        unit_price_minor=st.integers(0, 10**9),
        tax_bp=st.sampled_from(RATES) | st.integers(0, 5_000),
    ),
    max_size=8,
)
discounts = st.lists(
    st.builds(Discount, name=st.just("share"), percent_bp=st.integers(1, FULL_BP))
    | st.builds(Discount, name=st.just("amount"), amount_minor=st.integers(1, 10**10)),
    max_size=4,
)


def line(quantity: int, price: int, tax_bp: int | None = None) -> OrderLine:
    return OrderLine(name="thing", quantity=quantity, unit_price_minor=price, tax_bp=tax_bp)


@given(lines, discounts, st.booleans())
def test_everything_adds_up_in_minor_units(
    ordered: list[OrderLine], taken_off: list[Discount], tax_inclusive: bool
) -> None:
    sums = amounts(ordered, taken_off, tax_inclusive=tax_inclusive)
    assert sums.subtotal_minor == sum(each.quantity * (each.unit_price_minor or 0) for each in ordered)
    assert 0 <= sums.discount_minor <= sums.subtotal_minor
    charged = sums.subtotal_minor - sums.discount_minor
    assert sums.total_minor == charged + (0 if tax_inclusive else sums.tax_minor)
    assert sums.tax_minor == sum(tax.tax_minor for tax in sums.taxes)
    assert [tax.rate_bp for tax in sums.taxes] == sorted({each.tax_bp for each in ordered if each.tax_bp})
    taxed = sum(tax.base_minor + (tax.tax_minor if tax_inclusive else 0) for tax in sums.taxes)
    assert taxed <= charged
    if ordered and all(each.tax_bp for each in ordered):
        assert taxed == charged


@given(lines, discounts, st.booleans())
def test_each_tax_is_its_rate_of_its_base_to_half_a_minor_unit(
    ordered: list[OrderLine], taken_off: list[Discount], tax_inclusive: bool
) -> None:
    for tax in amounts(ordered, taken_off, tax_inclusive=tax_inclusive).taxes:
        assert tax.base_minor >= 0
        whole = tax.base_minor + (tax.tax_minor if tax_inclusive else 0)
        share = Fraction(tax.rate_bp, FULL_BP + tax.rate_bp if tax_inclusive else FULL_BP)
        assert abs(tax.tax_minor - whole * share) <= Fraction(1, 2)


@given(lines, discounts)
def test_inclusive_and_exclusive_prices_have_the_same_subtotal_and_discount(
    ordered: list[OrderLine], taken_off: list[Discount]
) -> None:
    within, on_top = (amounts(ordered, taken_off, tax_inclusive=inclusive) for inclusive in (True, False))
    assert (within.subtotal_minor, within.discount_minor) == (on_top.subtotal_minor, on_top.discount_minor)
    assert within.total_minor <= on_top.total_minor


@given(lines, discounts, st.booleans())
def test_the_order_of_lines_makes_no_difference_to_the_sums(
    ordered: list[OrderLine], taken_off: list[Discount], tax_inclusive: bool
) -> None:
    shuffled = sorted(ordered, key=lambda each: (each.tax_bp or 0, each.quantity))
    before, after = (amounts(each, taken_off, tax_inclusive=tax_inclusive) for each in (ordered, shuffled))
    assert before == after


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.integers(0, 10**7))
def test_a_discount_is_shared_among_the_rates_without_a_rest(prices: list[int], taken_off: int) -> None:
    ordered = [line(1, price, tax_bp=100 * (place + 1)) for place, price in enumerate(prices)]
    sums = amounts(ordered, [Discount(name="amount", amount_minor=taken_off)] if taken_off else [])
    assert sum(tax.base_minor for tax in sums.taxes) == sums.subtotal_minor - sums.discount_minor
    assert all(tax.base_minor <= price for tax, price in zip(sums.taxes, prices, strict=True))


@pytest.mark.parametrize(
    ("ordered", "taken_off", "tax_inclusive", "expected"),
    [
        ([], [], True, Amounts(subtotal_minor=0, discount_minor=0, taxes=(), tax_minor=0, total_minor=0)),
        (
            [line(100, 5_000)],
            [],
            False,
            Amounts(subtotal_minor=500_000, discount_minor=0, taxes=(), tax_minor=0, total_minor=500_000),
        ),
        (
            [line(100, 5_000, 1_800)],
            [],
            False,
            Amounts(
                subtotal_minor=500_000,
                discount_minor=0,
                taxes=(Tax(rate_bp=1_800, base_minor=500_000, tax_minor=90_000),),
                tax_minor=90_000,
                total_minor=590_000,
            ),
        ),
        (
            [line(100, 5_900, 1_800)],
            [],
            True,
            Amounts(
                subtotal_minor=590_000,
                discount_minor=0,
                taxes=(Tax(rate_bp=1_800, base_minor=500_000, tax_minor=90_000),),
                tax_minor=90_000,
                total_minor=590_000,
            ),
        ),
        (
            [line(1, 10_000, 1_000), line(1, 30_000, 500)],
            [Discount(name="amount", amount_minor=2_000), Discount(name="share", percent_bp=1_000)],
            False,
            Amounts(
                subtotal_minor=40_000,
                discount_minor=6_000,
                taxes=(
                    Tax(rate_bp=500, base_minor=25_500, tax_minor=1_275),
                    Tax(rate_bp=1_000, base_minor=8_500, tax_minor=850),
                ),
                tax_minor=2_125,
                total_minor=36_125,
            ),
        ),
    ],
    ids=["nothing", "no tax", "tax on top", "tax within", "shares before amounts, two rates"],
)
def test_worked_examples(
    ordered: list[OrderLine], taken_off: list[Discount], tax_inclusive: bool, expected: Amounts
) -> None:
    assert amounts(ordered, taken_off, tax_inclusive=tax_inclusive) == expected


def test_half_a_minor_unit_is_rounded_up() -> None:
    assert amounts([line(1, 5, 1_000)]).tax_minor == 1
    assert amounts([line(1, 4, 1_000)]).tax_minor == 0


def test_more_than_everything_is_not_taken_off() -> None:
    sums = amounts([line(1, 100, 1_800)], [Discount(name="amount", amount_minor=500)])
    assert (sums.discount_minor, sums.total_minor) == (100, 0)


@pytest.mark.parametrize(
    ("currency", "price_minor", "total"),
    [("JPY", 250, "JP¥25,000"), ("INR", 5_000, "₹5,000"), ("KWD", 1_505, "KWD 150.500")],
)
def test_currencies_with_0_2_and_3_decimals_are_all_whole_minor_units(
    currency: str, price_minor: int, total: str
) -> None:
    sums = amounts([line(100, price_minor, 1_800)], tax_inclusive=True)
    assert format_money(Money(minor=sums.total_minor, currency=currency), "en", "IN").replace("\u00a0", " ") == total
    assert sums.taxes[0].base_minor + sums.tax_minor == sums.total_minor
