"""What the HTTP API takes: the bodies of commands, as checked values. Names in camelCase, or as they are here."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel

from chatledger.events.codec import YEAR_MAX, YEAR_MIN
from chatledger.events.money import money_from_text
from chatledger_billing.orders import OrderStatus
from chatledger_billing.rules import AMOUNT_MINOR_MAX, TEXT_LENGTH_MAX


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError("write something")
    if "\0" in text:
        raise ValueError("leave out the NUL character")
    return text


def _in_range(time: AwareDatetime) -> AwareDatetime:
    if not YEAR_MIN < time.year < YEAR_MAX:
        raise ValueError(f"write a time between the years {YEAR_MIN} and {YEAR_MAX}")
    return time


def _decimal(text: str) -> str:
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError('write digits, and a point before decimals: "250.00"')
    return text


_DECIMAL = re.compile(r"\d{1,16}(\.\d{1,4})?", re.ASCII)
"""Nothing that people read as another amount: no `1_000`, `1e3` or digits of other scripts."""
Text = Annotated[StrictStr, Field(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(_written)]
Time = Annotated[AwareDatetime, AfterValidator(_in_range)]


class Body(BaseModel):
    """A field that is not known is refused: a misspelt one would be left out silently."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class CancelBody(Body):
    """Why an order is cancelled."""

    reason: Text


class AdvanceBody(Body):
    """The status that is to come next; without it, whichever that is."""

    to: OrderStatus | None = None


class VoidBody(Body):
    """Why an invoice is taken back."""

    reason: Text


class AmountBody(Body):
    """An amount in the invoice's currency: either as decimal text, `"250.00"`, or in minor units."""

    amount: Annotated[StrictStr, AfterValidator(_decimal)] | None = None
    amount_minor: Annotated[StrictInt, Field(ge=1, le=AMOUNT_MINOR_MAX)] | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> AmountBody:
        if (self.amount is None) == (self.amount_minor is None):
            raise ValueError('give either amount as text, "250.00", or amountMinor as a whole number')
        return self

    def minor(self, currency: str) -> int:
        """Return the amount in minor units. Raises ValueError when the text is no amount in that currency."""
        if self.amount_minor is not None:
            return self.amount_minor
        minor = money_from_text(self.amount or "", currency).minor
        if not 1 <= minor <= AMOUNT_MINOR_MAX:
            raise ValueError(f"{self.amount} is not an amount that can be paid")
        return minor


class PaymentBody(AmountBody):
    """Money that came in: `reference` is the payer's or the bank's; without `paid_at` it came now."""

    reference: Text
    method: Text
    paid_at: Time | None = None


class RefundBody(AmountBody):
    """Money that went back, under a reference of its own."""

    reference: Text
    reason: Text = "refund"
