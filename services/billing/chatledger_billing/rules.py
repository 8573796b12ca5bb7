"""What every order and invoice must keep to, and the error of one that does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from chatledger.errors import ChatledgerError
from chatledger.events.money import Money
from chatledger.events.orders import OrderLine

AMOUNT_MINOR_MAX = 2**53 - 1
"""Beyond it a JSON number is no longer exact for every reader."""
TEXT_LENGTH_MAX = 200
"""Ids, numbers and names are kept in indexes, which refuse entries of a few kilobytes."""


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


def require_lines(lines: Sequence[OrderLine], currency: str | None) -> None:
    """Raise RuleBroken unless there is something to deliver, priced throughout or not at all."""
    require(len(lines) > 0, "an order has at least one line")
    for line in lines:
        require_text("a line's name", line.name)
        require(0 < line.quantity <= AMOUNT_MINOR_MAX, "a quantity is at least 1")
        require((line.unit_price_minor or 0) >= 0, "a price is not negative")
    priced = [line for line in lines if line.unit_price_minor is not None]
    require(len(priced) in (0, len(lines)), "either every line has a price or none has")
    require(not priced or currency is not None, "a price has a currency")


def total_of(lines: Sequence[OrderLine], currency: str | None) -> Money | None:
    """Return the sum of `lines`, None where they have no price. Raises RuleBroken when it is not an amount."""
    if currency is None or any(line.unit_price_minor is None for line in lines):
        return None
    try:
        total = Money(minor=0, currency=currency)
    except ValueError as wrong:
        raise RuleBroken(str(wrong)) from wrong
    for line in lines:
        total += Money(minor=line.unit_price_minor or 0, currency=currency) * line.quantity
    require(total.minor <= AMOUNT_MINOR_MAX, f"a total is at most {AMOUNT_MINOR_MAX} minor units")
    return total
