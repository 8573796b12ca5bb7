"""Rows as a folder of Parquet files, one folder a day: `date=2026-11-21/part-00000.parquet`.

The day is that of recording, in UTC. DuckDB, polars, Spark and pandas read such a folder as one table with a column
`date`, and look only into the days that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

from chatledger.history.arrow import pyarrow, record_batch, schema_of
from chatledger.history.rows import ConversationRow, EventRow, MessageRow, Row
from chatledger.history.tables import Progress, Table

PARTITION_COLUMN: Mapping[type, str] = {
    EventRow: "recorded_at",
    MessageRow: "recorded_at",
    ConversationRow: "first_recorded_at",
}
"""What the day of a row is taken from. Rows come in nearly this order, so that one file is open at a time."""
FOLDERS = "date=*"
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
"""Where the columns of an empty table are: readers of Hive's folders know it as no day."""
ROWS_PER_GROUP = 65_536
"""Rows that are in memory at a time, and that a reader can skip at once; of events about 50 MB."""
ROWS_PER_PART = 1_000_000
"""A file of some 100 MB at most, so that readers share the work."""


def write_parquet(table: Table[Row], folder: Path, progress: Progress) -> int:
    """Write all rows into an empty folder; return how many."""
    with _Days(table.row_class, folder) as days:
        column = list(table.columns).index(PARTITION_COLUMN[table.row_class])
        count, at = 0, itemgetter(column)
        for part in table.parts():
            for day, rows in groupby(part.rows, key=lambda row: at(row).date()):
                days.add(day, list(rows))
            count += len(part.rows)
            progress(part.end)
    return count


class _Days:
    """The files of a folder; the one that is open holds the rows of one day."""

    def __init__(self, row_class: type, folder: Path) -> None:
        self._folder, self._schema = folder, schema_of(row_class)
        self._parts: dict[date, int] = {}
        self._day: date | None = None
        self._waiting: list[Sequence[Any]] = []
        self._writer: Any = None
        self._rows_in_part = 0

    def add(self, day: date, rows: list[Sequence[Any]]) -> None:
        """Take rows of one day."""
        if day != self._day or self._rows_in_part >= ROWS_PER_PART:
            self._end_part()
            self._day = day
        self._waiting += rows
        self._rows_in_part += len(rows)
        while len(self._waiting) >= ROWS_PER_GROUP:
            self._write(self._waiting[:ROWS_PER_GROUP])
            del self._waiting[:ROWS_PER_GROUP]

    def __enter__(self) -> _Days:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end_part()
            if not self._parts:
                self._open(f"date={NO_DAY}", 0)
        if self._writer is not None:
            self._writer.close()

    def _end_part(self) -> None:
        if self._waiting:
            self._write(self._waiting)
        self._waiting, self._rows_in_part = [], 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, rows: list[Sequence[Any]]) -> None:
        if self._writer is None:
            assert self._day is not None
            number = self._parts.get(self._day, 0)
            self._parts[self._day] = number + 1
            self._open(f"date={self._day.isoformat()}", number)
        self._writer.write_batch(record_batch([tuple(row) for row in rows], self._schema))

    def _open(self, day: str, number: int) -> None:
        pyarrow()
        from pyarrow import parquet

        place = self._folder / day / f"part-{number:05d}.parquet"
        place.parent.mkdir(exist_ok=True)
        self._writer = parquet.ParquetWriter(place, self._schema, compression="zstd")
