"""What every format is given: a table that is read part by part, and whom to tell how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from chatledger.history.rows import Part, Row

Progress = Callable[[int], None]
"""Told the position of the ledger up to which everything is written."""


class Table(Protocol[Row]):
    """Rows of one class, read from the ledger when they are asked for."""

    row_class: type[Row]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        ...

    def parts(self) -> Iterator[Part[Row]]:
        """Yield the rows as they are read, and with them how far."""
        ...
