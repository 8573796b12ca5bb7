"""Money in integer minor units with an ISO 4217 currency; never a float.

How many minor units make one unit (0, 2 or 3 decimals) comes from babel's copy of CLDR.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, get_currency_precision, is_currency

MINOR_MAX = 10**18
"""Amounts stay below it, so that sums of a few fit into the 64 bits of a database column."""
_LETTERS_BEFORE_DIGIT = re.compile(r"(?<=[A-Z]{3})(?=\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount in minor units (cents, paise) of one currency.

    Raises ValueError when the currency is not an ISO 4217 code.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if not is_currency(self.currency):
            raise ValueError(f"currency: {self.currency!r} is not an ISO 4217 code such as INR or EUR")

    def __add__(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(minor=self.minor + other.minor, currency=self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(minor=self.minor * times, currency=self.currency)


def money_from_text(amount: str, currency: str) -> Money:
    """Turn a decimal text such as `249.50` into minor units.

    Raises ValueError when it is no number, is out of range, or has more decimals than the currency.
    """
    try:
        scaled = Decimal(amount).scaleb(get_currency_precision(currency))
        in_range = abs(scaled) < MINOR_MAX
    except ArithmeticError as wrong:
        raise ValueError(f"{amount!r} is not a decimal number, or far out of range") from wrong
    if not in_range:
        raise ValueError(f"{amount!r} is out of range")
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} has more decimals than {currency} has")
    return Money(minor=int(scaled), currency=currency)


@lru_cache(maxsize=4096)
def format_money(money: Money, language: str, region: str) -> str:
    """Write `money` as people of this language and region do, e.g. `₹5,000` or `1 299,50 ₽`.

    Decimals are left out where they are all zero.
    """
    locale = _locale(language, region)
    amount = Decimal(money.minor).scaleb(-get_currency_precision(money.currency))
    if amount != amount.to_integral_value():
        return _spaced(format_currency(amount, money.currency, locale=locale))
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (0, 0)
    return _spaced(str(pattern.apply(amount, locale, currency=money.currency, currency_digits=False)))


def _spaced(text: str) -> str:
    """Part a code from its amount, as CLDR's currencySpacing says and babel does not: `KWD 1.500`."""
    return _LETTERS_BEFORE_DIGIT.sub("\u00a0", text)


@lru_cache(maxsize=256)
def _locale(language: str, region: str) -> Locale:
    for name in (f"{language}_{region}", language):
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")
