"""A table of history, not read yet: iterate it, or take it as Arrow, pandas or polars. Each time it is read anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from chatledger.history import arrow
from chatledger.history.exports import Format, export_rows
from chatledger.history.rows import EventRow, Part, Row, column_types
from chatledger.ports import LedgerEvent

if TYPE_CHECKING:
    import pyarrow as pa


class Query(Generic[Row]):
    """A table that is read from the ledger when it is asked for, a few thousand rows at a time.

    Asking twice reads twice, and finds what was recorded in between. What ends as one table in memory
    (`to_arrow`, `to_pandas`, `to_polars`) has to fit there; `rows` and `batches` hold a part at a time.
    """

    def __init__(self, row_class: type[Row], read: Callable[[], Iterator[Part[Row]]]) -> None:
        self.row_class = row_class
        self._read = read

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column_types(self.row_class))

    def parts(self) -> Iterator[Part[Row]]:
        """Yield the rows as they are read, and with them how far: what a progress bar needs."""
        return self._read()

    def rows(self) -> Iterator[Row]:
        """Yield one named tuple a row."""
        for part in self._read():
            yield from part.rows

    def batches(self, rows_max: int = arrow.ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Yield Arrow record batches of at most `rows_max` rows; only one is in memory at a time.

        Raises ConfigurationError where the extra `analytics` is not installed.
        """
        return arrow.batches_of(self.rows(), self.row_class, rows_max=rows_max)

    def to_arrow(self) -> pa.Table:
        """Return all of it as an Arrow table. Raises ConfigurationError as `batches` does."""
        return arrow.table_of(self.batches(), self.row_class)

    def to_pandas(self) -> Any:
        """Return all of it as a pandas DataFrame. Raises ConfigurationError where pandas or pyarrow is missing."""
        return arrow.pandas_of(self.to_arrow())

    def to_polars(self) -> Any:
        """Return all of it as a polars DataFrame. Raises ConfigurationError where polars or pyarrow is missing."""
        return arrow.polars_of(self.to_arrow())

    def to_parquet(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write all of it to a folder of Parquet files, one folder a day, and return the folder.

        It is complete or not there. Raises ConfigurationError where the folder holds something, unless `force`.
        """
        export_rows(self, Format.PARQUET, Path(folder), force=force)
        return Path(folder)

    def __iter__(self) -> Iterator[Any]:
        """Yield one named tuple a row."""
        return self.rows()


class EventQuery(Query[EventRow]):
    """The table of events. Iterated, it gives the events themselves, of today's classes, ready to be folded."""

    def __init__(
        self, read: Callable[[], Iterator[Part[EventRow]]], events: Callable[[], Iterator[LedgerEvent]]
    ) -> None:
        super().__init__(EventRow, read)
        self._events = events

    def __iter__(self) -> Iterator[LedgerEvent]:
        """Yield the events."""
        return self._events()
