"""`chatledger replay` for tests: in this process, and as the process that an operator starts; and a ledger for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer
from typer.testing import CliRunner

from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.ledger_rows import RecordedRow
from chatledger.ports import EVERYTHING, ConsumedRecord, LedgerEvent, Selection
from chatledger_cli import replay_command
from tests.support.ledger import Placed, as_records, open_ledger, recorder_pool

Run = Callable[..., Any]
SLOWLY = ("--speed", "0.000001x", "--gap-max", "50ms")
"""Each gap between two appends takes 50 ms."""
COMMAND = [sys.executable, "-m", "chatledger_cli.main", "replay"]


def runner() -> Run:
    """The command in this process; what it raises on purpose is in `.exception`."""
    app = typer.Typer(pretty_exceptions_enable=False)
    replay_command.register(app)
    app.command("nothing")(lambda: None)  # a Typer of one command takes no command's name
    return lambda *words: CliRunner().invoke(app, ["replay", *map(str, words)])


def append(url: str, records: Sequence[ConsumedRecord], *, each: int | None = None) -> None:
    """Record in one transaction, or in transactions of so many each."""

    async def record() -> None:
        async with open_ledger(url) as ledger:
            for start in range(0, len(records), each or len(records)):
                await ledger.append(records[start : start + (each or len(records))])

    asyncio.run(record())


def append_placed(url: str, placed: Placed, *, first_offset: int = 0, each: int | None = None) -> None:
    """The same for envelopes."""
    append(url, as_records(placed, first_offset=first_offset), each=each)


def recorded_rows(url: str, selection: Selection = EVERYTHING) -> list[RecordedRow]:
    """What the ledger holds, as it was recorded."""

    async def read() -> list[RecordedRow]:
        async with recorder_pool(url) as pool:
            return [row async for row in PostgresLedgerReader(pool).records(selection)]

    return asyncio.run(read())


def recorded_events(url: str) -> list[LedgerEvent]:
    """What the ledger holds, lifted."""

    async def read() -> list[LedgerEvent]:
        async with recorder_pool(url) as pool:
            return [event async for event in PostgresLedgerReader(pool).read()]

    return asyncio.run(read())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a process."""

    code: int
    out: bytes
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of --json."""
        return dict(orjson.loads(self.out.splitlines()[-1]))


def environment_for(url: str, folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds this ledger and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "CHATLEDGER_DATABASE": url,
        "CHATLEDGER_DATA_DIR": str(folder),
        **more,
    }


@contextmanager
def replaying(words: Sequence[str | Path], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process, killed at the end where it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def replayed(words: Sequence[str | Path], environment: dict[str, str]) -> Ended:
    """Run the command to its end."""
    with replaying(words, environment) as process:
        return ended(process)


def ended(process: subprocess.Popen[bytes]) -> Ended:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=60)
    return Ended(code=process.returncode, out=out, err=err.decode())
