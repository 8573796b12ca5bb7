"""Rows as Arrow: the schema of each table, record batches, and pandas and polars from there.

It needs the extra `analytics`. pyarrow is loaded by the first call that needs it, so that the library does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

from chatledger.errors import ConfigurationError
from chatledger.history.rows import column_types

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 65_536
"""What Arrow's own readers hand over at a time; of events about 50 MB."""


def needed(module: str, install: str) -> Any:
    """Import an optional library. Raises ConfigurationError that says what to install."""
    try:
        return import_module(module)
    except ImportError as wrong:
        raise ConfigurationError(f"{module} is missing: pip install '{install}'") from wrong


def pyarrow() -> Any:
    """Return the module pyarrow. Raises ConfigurationError that names the extra."""
    return needed("pyarrow", "chatledger[analytics]")


def schema_of(row_class: type) -> pa.Schema:
    """The Arrow schema of a table: times are microseconds in UTC, whole numbers have 64 bits."""
    arrow = pyarrow()
    types = {
        int: arrow.int64(),
        str: arrow.string(),
        bool: arrow.bool_(),
        datetime: arrow.timestamp("us", tz="UTC"),
    }
    columns = column_types(row_class).items()
    return arrow.schema([arrow.field(name, types[kind], nullable=optional) for name, (kind, optional) in columns])


def record_batch(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """One record batch of rows that have the columns of `schema`."""
    arrow = pyarrow()
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return arrow.record_batch(arrays, schema=schema)


def batches_of(rows: Iterable[tuple[Any, ...]], row_class: type, *, rows_max: int) -> Iterator[pa.RecordBatch]:
    """Record batches of at most `rows_max` rows, each made when it is asked for. There may be none."""
    schema, left = schema_of(row_class), iter(rows)
    while taken := list(islice(left, rows_max)):
        yield record_batch(taken, schema)


def table_of(batches: Iterable[pa.RecordBatch], row_class: type) -> pa.Table:
    """All of it in memory."""
    return pyarrow().Table.from_batches(batches, schema=schema_of(row_class))


def pandas_of(table: pa.Table) -> Any:
    """A pandas DataFrame. Raises ConfigurationError where pandas is missing."""
    needed("pandas", "pandas")
    return table.to_pandas()


def polars_of(table: pa.Table) -> Any:
    """A polars DataFrame, without a copy where polars can. Raises ConfigurationError where polars is missing."""
    return needed("polars", "polars").from_arrow(table)
