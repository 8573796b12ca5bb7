"""Where replayed events go on this machine: standard output, a file, or nowhere. Lines of NDJSON, as recorded."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

from chatledger.adapters.ledger_rows import RecordedRow, row_line
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger_cli.replay.position import Progress


class Target(Protocol):
    """Takes events, in the order of their positions."""

    @property
    def name(self) -> str:
        """What the summary and the position file call it."""
        ...

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Return when these are where they belong. Raises OutsideUnavailable."""
        ...

    def settle(self) -> int:
        """Make what was written outlive this machine's power, where it is kept here; return its length in bytes."""
        ...


class Nowhere:
    """The fold is all that was asked for."""

    name = "nowhere"

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Drop them."""

    def settle(self) -> int:
        """Nothing is kept."""
        return 0


class StandardOutput:
    """Lines for the next program."""

    name = "standard output"

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Write and flush. Raises BrokenPipeError where nobody reads any more."""
        sys.stdout.buffer.write(lines_of(rows))
        sys.stdout.buffer.flush()

    def settle(self) -> int:
        """What was read by another program is its own to keep."""
        return 0


class OutputFile:
    """Lines in a file that is this replay's own."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._file, self._length = file, file.tell()
        self.name = file_name(path)

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Write whole lines. Raises OutsideUnavailable where the disk does not take them."""
        lines = memoryview(lines_of(rows))
        with self._disk_errors():
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:]) or 0
        self._length += len(lines)

    def settle(self) -> int:
        """Wait until the disk has it; return the length up to the last whole batch."""
        with self._disk_errors():
            os.fsync(self._file.fileno())
        return self._length

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as wrong:
            raise OutsideUnavailable(f"{self.name} cannot be written: {wrong.strerror}") from wrong


@contextlib.contextmanager
def output_file(path: Path, progress: Progress | None) -> Iterator[OutputFile]:
    """Open a new file, or the one that a replay had come to, cut back to the last line that its position knows of.

    Raises ConfigurationError where there is a file that is not this replay's, or another replay writes it.
    """
    with _opened(path, progress) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another replay is writing {path}: wait for it, or name another file") from None
        if progress is not None:
            _cut(path, file, progress.bytes)
        yield OutputFile(path, file)


def file_name(path: Path) -> str:
    """What a file is called in messages and position files."""
    return f"file {path.absolute()}"


def lines_of(rows: Sequence[RecordedRow]) -> bytes:
    """Return rows as NDJSON."""
    return b"".join(row_line(row) + b"\n" for row in rows)


def _opened(path: Path, progress: Progress | None) -> FileIO:
    # A replay that was killed before its first line has a position, and perhaps no file yet.
    is_new = progress is None or (progress.bytes == 0 and not path.exists())
    try:
        # Without a buffer of Python's: it would keep what the disk refused, and refuse again when it is closed.
        return path.open("xb" if is_new else "r+b", buffering=0)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already: remove it or name another file; to go on with a replay, give the --resume file"
            " that it began with"
        ) from None
    except OSError as wrong:
        raise ConfigurationError(f"{path} cannot be opened: {wrong.strerror}") from wrong


def _cut(path: Path, file: FileIO, length: int) -> None:
    """Drop what came after the last saved position: it is written again, and its last line may be torn."""
    file.seek(max(0, length - 1))
    if length and file.read(1) != b"\n":
        raise ConfigurationError(
            f"{path} is not as the replay left it: its position file knows of {length} bytes that end with a line;"
            " remove both files to begin anew"
        )
    file.truncate(length)
    file.seek(length)
