"""What an order comes to: subtotal, discounts, tax and total, in integer minor units. Pure.

A cart's summary and the order's invoice are computed here alike, so they cannot differ. The order of steps: sum the
lines; take off the discounts, shares first and each from what the one before left, then amounts, never below zero;
share what was taken off among the tax rates in proportion to their lines; then the tax of each rate, rounded half up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatledger.events.orders import Discount, OrderLine, Tax

FULL_BP = 10_000
"""100 % in basis points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """In minor units. total = subtotal - discount, + tax where prices do not contain it."""

    subtotal_minor: int
    discount_minor: int
    taxes: tuple[Tax, ...]
    tax_minor: int
    total_minor: int


def amounts(lines: Sequence[OrderLine], discounts: Sequence[Discount] = (), *, tax_inclusive: bool = False) -> Amounts:
    """Compute what priced lines come to. Every line needs a price; a line without a tax rate is not taxed."""
    by_rate: dict[int, int] = {}
    for line in lines:
        rate = line.tax_bp or 0
        by_rate[rate] = by_rate.get(rate, 0) + line.quantity * (line.unit_price_minor or 0)
    subtotal = sum(by_rate.values())
    discount = _discount(subtotal, discounts)
    rates = sorted(by_rate)
    shares = _in_proportion(discount, [by_rate[rate] for rate in rates])
    taxes = tuple(
        _tax(by_rate[rate] - share, rate, tax_inclusive=tax_inclusive)
        for rate, share in zip(rates, shares, strict=True)
        if rate
    )
    tax = sum(each.tax_minor for each in taxes)
    total = subtotal - discount + (0 if tax_inclusive else tax)
    return Amounts(subtotal_minor=subtotal, discount_minor=discount, taxes=taxes, tax_minor=tax, total_minor=total)


def _discount(subtotal: int, discounts: Sequence[Discount]) -> int:
    left = subtotal
    for discount in discounts:
        if discount.percent_bp is not None:
            left -= _half_up(left * discount.percent_bp, FULL_BP)
    for discount in discounts:
        if discount.amount_minor is not None:
            left = max(0, left - discount.amount_minor)
    return subtotal - left


def _in_proportion(amount: int, weights: Sequence[int]) -> list[int]:
    """Share `amount` by the largest remainder, so that the shares add up to it."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-(amount * weights[index] % whole), index))
    for index in by_remainder[: amount - sum(shares)]:
        shares[index] += 1
    return shares


def _tax(charged: int, rate_bp: int, *, tax_inclusive: bool) -> Tax:
    """The tax in, or on, what is charged at one rate."""
    if tax_inclusive:
        tax = _half_up(charged * rate_bp, FULL_BP + rate_bp)
        return Tax(rate_bp=rate_bp, base_minor=charged - tax, tax_minor=tax)
    return Tax(rate_bp=rate_bp, base_minor=charged, tax_minor=_half_up(charged * rate_bp, FULL_BP))


def _half_up(numerator: int, denominator: int) -> int:
    """Divide and round half up; neither is negative."""
    return (2 * numerator + denominator) // (2 * denominator)
