"""Tables of history as files: which formats there are, and how each is written."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, cast

from chatledger.errors import OutsideUnavailable
from chatledger.history.arrow_parquet import FOLDERS, write_parquet
from chatledger.history.files import new_file, new_folder
from chatledger.history.ocel import write_ocel
from chatledger.history.rows import Row
from chatledger.history.tables import Progress, Table
from chatledger.history.text_formats import write_csv, write_ndjson
from chatledger.ports import LedgerEvent


class Format(StrEnum):
    """What history is written as."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    OCEL = "ocel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote."""

    rows: int
    files: int
    bytes: int
    seconds: float


class _Counted(io.RawIOBase):
    """A binary file that counts what is written to it."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out
        self.size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        self._out.write(data)
        self.size += len(data)
        return len(data)


def quiet(position: int) -> None:
    """Nobody asked how far it is."""


def export_rows(
    table: Table[Row],
    format: Format,
    out: Path,
    *,
    force: bool = False,
    spreadsheet: bool = False,
    progress: Progress = quiet,
) -> Exported:
    """Write a table to the file, or for Parquet the folder, `out`: it is complete or not there.

    Raises ConfigurationError where something is there already, unless `force`, or where pyarrow is missing, and
    OutsideUnavailable where the disk is full or the ledger went away.
    """
    started = time.monotonic()
    if format is Format.PARQUET:
        with new_folder(out, entries=FOLDERS, force=force) as folder:
            rows = write_parquet(table, folder, progress)
    else:
        with new_file(out, force=force) as partial, partial.open("xb", buffering=1 << 20) as file:
            if format is Format.CSV:
                rows = write_csv(table, file, progress, spreadsheet=spreadsheet)
            else:
                rows = write_ndjson(table, file, progress)
    return exported(out, rows, started)


def export_to(table: Table[Row], format: Format, out: BinaryIO, *, spreadsheet: bool = False) -> Exported:
    """Write a table to an open binary file, such as standard output.

    Raises OutsideUnavailable as `export_rows` does, and BrokenPipeError where nobody reads any more.
    """
    started, counted = time.monotonic(), _Counted(out)
    file = cast("BinaryIO", counted)
    try:
        if format is Format.CSV:
            rows = write_csv(table, file, quiet, spreadsheet=spreadsheet)
        else:
            rows = write_ndjson(table, file, quiet)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as wrong:
        raise OutsideUnavailable(f"the rows could not be written: {wrong.strerror or wrong}") from wrong
    return Exported(rows=rows, files=0, bytes=counted.size, seconds=round(time.monotonic() - started, 3))


def export_ocel(
    events: Iterable[LedgerEvent], out: Path, *, force: bool = False, progress: Progress = quiet
) -> Exported:
    """Write events as an object-centric event log, OCEL 2.0 in SQLite. Raises as `export_rows` does."""
    started = time.monotonic()
    with new_file(out, force=force) as partial:
        rows = write_ocel(events, partial, progress)
    return exported(out, rows, started)


def exported(out: Path, rows: int, started: float) -> Exported:
    """Sum up what is at `out`; `started` is when it began, by the monotonic clock."""
    files = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    size = sum(path.stat().st_size for path in files)
    return Exported(rows=rows, files=len(files), bytes=size, seconds=round(time.monotonic() - started, 3))
