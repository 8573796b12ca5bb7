"""Numbers without gaps: the register of one series (invoices, credit notes), one project and one year. Pure.

A register is a stream of its own. Two who count at once collide in its version, and one of them decides again; so a
number is given in the transaction of what it numbers, and none is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from chatledger.events.base import Event


class Series(StrEnum):
    """What is numbered; the value begins each number."""

    INVOICE = "INV"
    CREDIT_NOTE = "CN"


_STREAMS = {Series.INVOICE: "register", Series.CREDIT_NOTE: "credit-notes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersGiven(Event):
    """The register numbered these invoices, or their credit notes, `first` and the following. It is not published."""

    type: ClassVar[str] = "invoice_numbers.given"

    first: int
    invoice_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRegister:
    """Counts one series of one project and one year."""

    series: Series = Series.INVOICE
    project: str
    year: int
    version: int = 0
    last: int = 0

    @property
    def stream(self) -> str:
        """The name of the register's stream."""
        return f"{_STREAMS[self.series]}-{self.project}-{self.year}"

    def give(self, invoice_ids: Sequence[str]) -> NumbersGiven:
        """Number these invoices, in their order."""
        return NumbersGiven(first=self.last + 1, invoice_ids=tuple(invoice_ids))

    def after(self, version: int, given: NumbersGiven) -> NumberRegister:
        """Return the register after its event `version`. The newest event alone tells where the count stands."""
        last = given.first + len(given.invoice_ids) - 1
        return NumberRegister(series=self.series, project=self.project, year=self.year, version=version, last=last)

    def number(self, count: int) -> str:
        """Write the `count`-th number, e.g. `INV-2026-000001`."""
        return f"{self.series}-{self.year}-{count:06d}"
