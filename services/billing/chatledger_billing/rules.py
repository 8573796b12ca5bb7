"""What every order and invoice must keep to, and the error of one that does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from babel.numbers import get_currency_precision, is_currency

from chatledger.errors import ChatledgerError
from chatledger.events.money import Money
from chatledger.events.orders import Discount, OrderLine
from chatledger.pricing import FULL_BP, Amounts, amounts

AMOUNT_MINOR_MAX = 2**53 - 1
"""Beyond it a JSON number is no longer exact for every reader."""
TEXT_LENGTH_MAX = 200
"""Ids, numbers and names are kept in indexes, which refuse entries of a few kilobytes."""
TAX_BP_MAX = 10 * FULL_BP
"""Ten times the price: no tax is higher, and products of it with an amount stay small."""


class RuleBroken(ChatledgerError):
    """An order or an invoice may not be like this."""


def require(holds: bool, rule: str) -> None:
    """Raise RuleBroken, saying `rule`, unless it holds."""
    if not holds:
        raise RuleBroken(rule)


def require_text(name: str, text: str) -> None:
    """Raise RuleBroken unless `text` can be an id or a name."""
    require(0 < len(text) <= TEXT_LENGTH_MAX, f"{name} has 1 to {TEXT_LENGTH_MAX} characters")
    require("\0" not in text, f"{name} has no NUL character")


def require_amount(name: str, minor: int) -> None:
    """Raise RuleBroken unless `minor` units can be paid."""
    require(0 < minor <= AMOUNT_MINOR_MAX, f"{name} is at least 1 and at most {AMOUNT_MINOR_MAX} minor units")


def require_lines(lines: Sequence[OrderLine], currency: str | None) -> None:
    """Raise RuleBroken unless there is something to deliver, priced throughout or not at all."""
    require(len(lines) > 0, "an order has at least one line")
    for line in lines:
        require_text("a line's name", line.name)
        require(0 < line.quantity <= AMOUNT_MINOR_MAX, "a quantity is at least 1")
        require((line.unit_price_minor or 0) >= 0, "a price is not negative")
        require(0 <= (line.tax_bp or 0) <= TAX_BP_MAX, f"a tax rate is 0 to {TAX_BP_MAX} basis points")
    priced = [line for line in lines if line.unit_price_minor is not None]
    require(len(priced) in (0, len(lines)), "either every line has a price or none has")
    require(not priced or currency is not None, "a price has a currency")


def require_discounts(discounts: Sequence[Discount]) -> None:
    """Raise RuleBroken unless each discount is a share or an amount."""
    for discount in discounts:
        require_text("a discount's name", discount.name)
        is_share, is_amount = discount.percent_bp is not None, discount.amount_minor is not None
        require(is_share != is_amount, "a discount is either a share or an amount")
        require(0 <= (discount.percent_bp or 0) <= FULL_BP, f"a share is 0 to {FULL_BP} basis points")
        require(0 <= (discount.amount_minor or 0) <= AMOUNT_MINOR_MAX, "a discount is not negative")


def amounts_of(
    lines: Sequence[OrderLine],
    currency: str | None,
    discounts: Sequence[Discount] = (),
    *,
    tax_inclusive: bool = False,
) -> Amounts | None:
    """Return what `lines` come to, None where they have no price. Raises RuleBroken when it is not an amount."""
    if currency is None or any(line.unit_price_minor is None for line in lines):
        return None
    require(_is_currency(currency), f"{currency!r} is not an ISO 4217 currency")
    computed = amounts(lines, discounts, tax_inclusive=tax_inclusive)
    largest = max(computed.subtotal_minor, computed.total_minor)
    require(largest <= AMOUNT_MINOR_MAX, f"a total is at most {AMOUNT_MINOR_MAX} minor units")
    return computed


@lru_cache(maxsize=1_000)
def _is_currency(code: str) -> bool:
    """Whether it is one; to look it up takes longer than all the arithmetic of an order."""
    return bool(is_currency(code))


def decimal_text(money: Money) -> str:
    """Write an amount with as many decimals as its currency has, without the currency: `750.00`."""
    decimals = get_currency_precision(money.currency)
    return f"{Decimal(money.minor).scaleb(-decimals):.{decimals}f}"


def amount_text(money: Money) -> str:
    """Write an amount so that nobody can misread it: `750.00 INR`."""
    return f"{decimal_text(money)} {money.currency}"
