"""Money: whole minor units of one currency, exact in and out, written as people write it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.money import MINOR_MAX, Money, format_money, money_from_text

DECIMALS = {"JPY": 0, "INR": 2, "RUB": 2, "KWD": 3}
NBSP = "\u00a0"
currencies = st.sampled_from(sorted(DECIMALS))
amounts = st.integers(-MINOR_MAX + 1, MINOR_MAX - 1)


@given(amounts, amounts, currencies)
def test_adding_adds_minor_units(one: int, other: int, currency: str) -> None:
    total = Money(minor=one, currency=currency) + Money(minor=other, currency=currency)
    assert total == Money(minor=one + other, currency=currency)


@given(st.integers(0, 100_000), st.integers(0, 50), currencies)
def test_multiplying_is_repeated_adding(minor: int, times: int, currency: str) -> None:
    price, total = Money(minor=minor, currency=currency), Money(minor=0, currency=currency)
    for _ in range(times):
        total += price
    assert price * times == total


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot add EUR to INR"):
        Money(minor=1, currency="INR") + Money(minor=1, currency="EUR")


@pytest.mark.parametrize("currency", ["", "inr", "₹", "RUPEE", "QQQ"])
def test_a_currency_is_an_iso_code(currency: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(minor=1, currency=currency)


@given(amounts, currencies)
def test_a_written_amount_is_read_exactly(minor: int, currency: str) -> None:
    written = f"{Decimal(minor).scaleb(-DECIMALS[currency]):f}"
    assert money_from_text(written, currency) == Money(minor=minor, currency=currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("100", "JPY", 100), ("249.50", "INR", 24_950), ("249.5", "INR", 24_950), ("1.234", "KWD", 1_234)],
)
def test_amounts_are_read_with_the_decimals_of_their_currency(amount: str, currency: str, minor: int) -> None:
    assert money_from_text(amount, currency) == Money(minor=minor, currency=currency)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0.5", "JPY"),
        ("1.999", "INR"),
        ("1.2345", "KWD"),
        ("NaN", "INR"),
        ("sNaN", "INR"),
        ("Infinity", "INR"),
        ("-Infinity", "INR"),
        ("1e400", "INR"),
        ("1e999999999", "INR"),
        ("10000000000000000", "INR"),
        ("0.0000000000000000000000000000000000001", "INR"),
        ("", "INR"),
        ("1,50", "INR"),
        ("two", "INR"),
        ("None", "INR"),
        ("1", "Rs"),
    ],
)
def test_what_is_no_amount_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        money_from_text(amount, currency)


@pytest.mark.parametrize(
    ("minor", "currency", "language", "region", "written"),
    [
        (500_000, "INR", "en", "IN", "₹5,000"),
        (50_000_000, "INR", "en", "IN", "₹5,00,000"),
        (24_950, "INR", "en", "IN", "₹249.50"),
        (129_950, "RUB", "ru", "RU", f"1{NBSP}299,50{NBSP}₽"),
        (100, "JPY", "en", "JP", "¥100"),
        (1_500, "KWD", "en", "KW", f"KWD{NBSP}1.500"),
        (2_000, "KWD", "en", "KW", f"KWD{NBSP}2"),
        (-500, "INR", "en", "IN", "-₹5"),
        (0, "INR", "en", "IN", "₹0"),
        (100_000, "INR", "tlh", "QO", "₹1,000"),
    ],
)
def test_amounts_are_written_as_people_there_write_them(
    minor: int, currency: str, language: str, region: str, written: str
) -> None:
    assert format_money(Money(minor=minor, currency=currency), language, region) == written


@given(st.integers(0, 10**12), currencies, st.sampled_from([("en", "IN"), ("ru", "RU"), ("en", "JP"), ("ar", "KW")]))
def test_no_digit_is_lost_in_writing(minor: int, currency: str, place: tuple[str, str]) -> None:
    written = format_money(Money(minor=minor, currency=currency), *place)
    digits = "".join(character for character in written if character.isdigit())
    exact = f"{Decimal(minor).scaleb(-DECIMALS[currency]):f}"
    whole, _, fraction = exact.partition(".")
    assert int(digits) == int(whole + fraction) or (int(digits) == int(whole) and not fraction.strip("0"))
