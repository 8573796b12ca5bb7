"""`chatledger export`: history as files for other tools: NDJSON, CSV, Parquet, OCEL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from chatledger.errors import ConfigurationError
from chatledger.history.exports import Exported, Format, export_ocel, export_rows, export_to
from chatledger.history.queries import EventQuery, Query
from chatledger.history.reader import History, open_history
from chatledger.ports import Selection
from chatledger.settings import read_settings
from chatledger_cli.connect import database_url
from chatledger_cli.progress_bar import bar, bar_is_shown
from chatledger_cli.selection import Words, choose
from chatledger_cli.up_settings import UpSettings

TERMINATED = 128 + signal.SIGTERM
STANDARD_OUTPUT = Path("-")


class What(StrEnum):
    """The tables of history."""

    EVENTS = "events"
    CONVERSATIONS = "conversations"
    MESSAGES = "messages"


WHICH, WHERE, CLIENTS = "Which part of history", "Where it goes", "Clients"

Wanted = Annotated[
    What,
    typer.Argument(help="events; conversations, one row each as folded; or messages, with what became of them."),
]
As = Annotated[
    Format,
    typer.Option("--format", help="parquet is a folder with one folder a day; ocel an SQLite file for process mining."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="The file, or the folder of parquet; without it standard output.", rich_help_panel=WHERE),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the file, or the folder of an earlier export.", rich_help_panel=WHERE)
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Recorded from this time on: 2026-11-21, '2026-11-21 10:00' (local time), with an offset, or -7d.",
        rich_help_panel=WHICH,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(help="Recorded up to this time; conversations as they were known then.", rich_help_panel=WHICH),
]
Project = Annotated[str | None, typer.Option(help="Only this project.", rich_help_panel=WHICH)]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", help="Only events of this type; 'order.*' takes a family. May be given again.", rich_help_panel=WHICH
    ),
]
Anonymise = Annotated[
    bool,
    typer.Option(
        "--anonymise",
        help="Without personal data: texts and addresses are left out, clients and phone numbers are pseudonyms.",
        rich_help_panel=CLIENTS,
    ),
]
AnonymiseKey = Annotated[
    Path | None,
    typer.Option(
        envvar="CHATLEDGER_ANONYMISE_KEY",
        metavar="FILE",
        help="A file with 16 or more secret bytes: the same key gives the same pseudonyms in every export. Without it"
        " they are new ones each time, and nobody can say whose they are.",
        rich_help_panel=CLIENTS,
    ),
]
Spreadsheet = Annotated[
    bool,
    typer.Option(
        "--spreadsheet",
        help="CSV for a spreadsheet: what it would run as a formula, such as =1+1 or +91, gets an apostrophe first.",
        rich_help_panel=WHERE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="End with one line of JSON: rows, files, bytes, seconds.")]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("export")(export)


def export(
    context: typer.Context,
    what: Wanted = What.EVENTS,
    format: As = Format.NDJSON,
    out: Out = None,
    force: Force = False,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    types: Types = None,
    anonymise: Anonymise = False,
    anonymise_key: AnonymiseKey = None,
    spreadsheet: Spreadsheet = False,
    as_json: AsJson = False,
) -> None:
    """Write history as files for other tools. A file is complete or not there, whatever happens.

    docs/exports.md lists the columns, and what remains of a client after --anonymise.

    Example: chatledger export messages --format parquet --out messages --since -30d --anonymise
    """
    out = None if out == STANDARD_OUTPUT else out
    require_sense(what, format, out, types=types, spreadsheet=spreadsheet)
    source = context.get_parameter_source("anonymise_key")
    if not anonymise and source is not None and source.name == "COMMANDLINE":
        raise ConfigurationError(
            "--anonymise-key does nothing by itself, and clients would be told of: add --anonymise"
        )
    selection = choose(
        Words(since=since, until=until, project=project, types=tuple(types or ())), datetime.now(UTC)
    ).selection
    key = read_key(anonymise_key) if anonymise else None
    try:
        with _ended_by_sigterm(), _ledger_url() as url, open_history(url, anonymise_key=key) as history:
            query = query_of(history, what, selection, anonymise=anonymise)
            with _shown_progress(history, shown=bar_is_shown(wanted=not as_json and out is not None)) as progress:
                done = _write(query, format, out, force=force, spreadsheet=spreadsheet, progress=progress)
            _say(done, out, as_json=as_json)
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require_sense(what: What, format: Format, out: Path | None, *, types: list[str] | None, spreadsheet: bool) -> None:
    """Refuse what cannot be meant. Raises ConfigurationError that says what to write instead."""
    if out is None and format in (Format.PARQUET, Format.OCEL):
        place = "a folder: --out history" if format is Format.PARQUET else "a file: --out history.sqlite"
        raise ConfigurationError(f"{format} does not go to standard output; name {place}")
    if format is Format.OCEL and what is not What.EVENTS:
        raise ConfigurationError(
            f"ocel takes events, and with them all of history: leave out {what}, or take another format"
        )
    if spreadsheet and format is not Format.CSV:
        raise ConfigurationError("--spreadsheet is about CSV: add --format csv")
    if types and what is not What.EVENTS:
        raise ConfigurationError(f"--type is about events: {what} are made of several types")


def read_key(path: Path | None) -> bytes | None:
    """The bytes of the key file. Raises ConfigurationError where it cannot be read."""
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise ConfigurationError(
            f"the key {path} cannot be read: {wrong.strerror}; make one with `head -c 32 /dev/urandom > {path}`"
        ) from wrong


def query_of(history: History, what: What, selection: Selection, *, anonymise: bool) -> Query[Any]:
    """The table that is meant."""
    since, until, project = selection.since_time, selection.until_time, selection.project
    if what is What.CONVERSATIONS:
        return history.conversations(at=until, since=since, project=project, anonymise=anonymise)
    if what is What.MESSAGES:
        return history.messages(since=since, until=until, project=project, anonymise=anonymise)
    return history.events(since=since, until=until, project=project, types=selection.types, anonymise=anonymise)


def _write(
    query: Query[Any], format: Format, out: Path | None, *, force: bool, spreadsheet: bool, progress: Any
) -> Exported:
    if format is Format.OCEL:
        assert isinstance(query, EventQuery)
        assert out is not None
        return export_ocel(query, out, force=force, progress=progress)
    if out is None:
        assert format is not Format.PARQUET
        return export_to(query, format, sys.stdout.buffer, spreadsheet=spreadsheet)
    return export_rows(query, format, out, force=force, spreadsheet=spreadsheet, progress=progress)


def _say(done: Exported, out: Path | None, *, as_json: bool) -> None:
    """The summary; where the rows are on standard output, it is not in their way."""
    if as_json:
        typer.echo(orjson.dumps(asdict(done)), err=out is None)
        return
    rate = f"{done.rows / done.seconds:,.0f} a second" if done.seconds > 0 else "at once"
    where = (
        ""
        if out is None
        else f" in {out}: {done.files:,} {'file' if done.files == 1 else 'files'}, {done.bytes:,} bytes"
    )
    Console(stderr=True).print(
        f"{done.rows:,} rows{where}, in {done.seconds:.1f} s ({rate})", highlight=False, soft_wrap=True
    )


@contextlib.contextmanager
def _shown_progress(history: History, *, shown: bool) -> Iterator[Any]:
    """A bar over the positions of the ledger, which are looked at one after the other."""
    reached, last = 0, history.last_position()
    with bar(last, shown=shown, doing="exporting") as advance:

        def moved_to(position: int) -> None:
            nonlocal reached
            advance(max(0, position - reached))
            reached = max(reached, position)

        yield moved_to


@contextlib.contextmanager
def _ledger_url() -> Iterator[str]:
    """The URL of the ledger that is meant, for the time of a `with`; an embedded one is started for it."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        url = runner.run(stack.enter_async_context(database_url(read_settings(UpSettings))))
        try:
            yield url
        finally:
            runner.run(stack.aclose())


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: what is half written is deleted."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
