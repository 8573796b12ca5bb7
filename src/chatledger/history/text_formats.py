"""Rows as text: NDJSON, one object a line, and CSV as RFC 4180 has it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any, BinaryIO

import orjson

from chatledger.history.rows import Row
from chatledger.history.tables import Progress, Table

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet takes a cell that begins so for a formula, and runs it."""
JSON_COLUMNS = frozenset({"data", "state"})
"""Columns whose text is JSON; in NDJSON they are values."""


def write_ndjson(table: Table[Row], out: BinaryIO, progress: Progress) -> int:
    """Write one JSON object a line, times with a Z; return how many."""
    count, columns = 0, table.columns
    for part in table.parts():
        out.write(b"".join(json_line(columns, row) for row in part.rows))
        count += len(part.rows)
        progress(part.end)
    return count


def json_line(columns: Sequence[str], row: Sequence[Any]) -> bytes:
    """One row as a line of NDJSON. Numbers in JSON columns stay as they are written, whatever their size."""
    told = {
        name: orjson.Fragment(value) if name in JSON_COLUMNS else value
        for name, value in zip(columns, row, strict=True)
    }
    return orjson.dumps(told, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def write_csv(table: Table[Row], out: BinaryIO, progress: Progress, *, spreadsheet: bool = False) -> int:
    """Write a line with the columns' names and one line a row, in UTF-8 with CRLF; return how many rows.

    What is None is an empty field, and so is an empty text. With `spreadsheet` a field that a spreadsheet would take
    for a formula gets an apostrophe before it: clients write what they like.
    """
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(table.columns)
        count = 0
        for part in table.parts():
            writer.writerows([_field(value, spreadsheet=spreadsheet) for value in row] for row in part.rows)
            count += len(part.rows)
            progress(part.end)
        text.flush()
    finally:
        # Whoever opened `out` closes it.
        text.detach()
    return count


def _field(value: Any, *, spreadsheet: bool) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() if spreadsheet and value.startswith(FORMULA_STARTS):
            return f"'{value}"
    return value
