"""`chatledger what-if`: changed flows and project files over recorded history, and which decisions would differ."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from chatledger.errors import ChatledgerError, ConfigurationError
from chatledger.settings import read_settings
from chatledger_cli.connect import ledger_reader
from chatledger_cli.moments import read_moment
from chatledger_cli.progress_bar import bar, bar_is_shown
from chatledger_cli.up_settings import UpSettings
from chatledger_cli.what_if.page import write_page
from chatledger_cli.what_if.pipe import Asked
from chatledger_cli.what_if.run import Answer, ask
from chatledger_cli.what_if.source import FileSource, LedgerSource, Part, Source
from chatledger_cli.what_if.text import print_report

DIFFERS, NOT_COMPARED = 1, 2
"""Exit codes, as of `diff`."""

FLOW = typer.Option(
    help="Changed flow code: a file that is called like one of chatledger.flows takes its place, one with another name"
    " adds its Flow objects; or a folder of them, or a whole checkout. Repeat it for more.",
    metavar="PATH",
)
PROJECT = typer.Option(help="A changed project file; it replaces the project of its name.", metavar="FILE")
LIMIT = typer.Option("--limit-s", min=0.01, help="Seconds that a decision may take.")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("what-if")(what_if)


def what_if(
    flow: Annotated[list[Path] | None, FLOW] = None,
    project: Annotated[list[Path] | None, PROJECT] = None,
    since: Annotated[str | None, typer.Option(help="Compare inputs recorded since then: 2026-11-21, -7d.")] = None,
    until: Annotated[str | None, typer.Option(help="End with what was recorded by then.")] = None,
    project_name: Annotated[str | None, typer.Option(help="Only the conversations of this project.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Only this one: project/channel/client.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="A file that `chatledger replay` wrote, not the ledger.", metavar="FILE")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on from what the changed decision led to, not from the record.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="So many conversations are shown whole.")] = 20,
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Show names, texts and numbers of clients; masked otherwise.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as one line of JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one page that needs no network.", metavar="FILE")
    ] = None,
    limit_s: Annotated[float, LIMIT] = 5.0,
) -> None:
    """Run changed flow code or project files over recorded history, and show which decisions would differ.

    Each recorded input (message, timer, order, invoice, notice) is decided once more, in the state that was recorded
    before it, and what is decided is compared with what was recorded. Nothing is sent and nothing is called: the code
    runs in a process without credentials. Without --flow and --project it is today's code that is compared.

    Exit code: 0 nothing differs, 1 something does, 2 it could not be compared or the flow code failed.

    Example: chatledger what-if --flow changed/store.py --since -7d --html what-if.html
    """
    now = datetime.now(UTC)
    asking = Asking(
        flows=flow or [],
        projects=project or [],
        since=read_moment(since, now) if since else None,
        part=Part(until=read_moment(until, now) if until else None, project=project_name, conversation=conversation),
        history=history,
        follow=follow,
        examples=examples,
        personal=show_personal,
        limit_s=limit_s,
        bar=not as_json,
    )
    report = _reported(asking, html)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(report) + b"\n")
        sys.stdout.buffer.flush()
    else:
        print_report(report, Console(highlight=False, soft_wrap=True))
        if html is not None:
            typer.echo(f"the page is {html}", err=True)
    raise typer.Exit(exit_code(report))


def _reported(asking: Asking, html: Path | None) -> dict[str, Any]:
    """Compare. Whatever goes wrong ends with 2: whoever reads the exit code must not take it for a difference."""
    try:
        report = asyncio.run(asking.run())
        if html is not None:
            write_page(html, report)
    except ConfigurationError:
        raise
    except ChatledgerError as wrong:
        raise ConfigurationError(str(wrong)) from wrong
    except Exception:
        traceback.print_exc()
        raise typer.Exit(NOT_COMPARED) from None
    return report


def exit_code(report: dict[str, Any]) -> int:
    """What the report says to a script."""
    if report["totals"]["decisions_failed"]:
        return NOT_COMPARED
    return DIFFERS if report["differs"] else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is to be compared with what."""

    flows: Sequence[Path]
    projects: Sequence[Path]
    since: datetime | None
    part: Part
    history: Path | None
    follow: bool
    examples: int
    personal: bool
    limit_s: float
    bar: bool

    async def run(self) -> dict[str, Any]:
        """Return the report. Raises ChatledgerError."""
        asked = Asked(
            flows=[str(path.absolute()) for path in self.flows],
            projects=self._project_files(),
            changed=[_read(path) for path in self.projects],
            since=self.since.isoformat() if self.since else None,
            follow=self.follow,
            examples=self.examples,
            personal=self.personal,
            limit_s=self.limit_s,
            mark=-1,
        )
        started = time.monotonic()
        if self.history is not None:
            answer, events = await self._ask(asked, FileSource(self.history, self.part))
        else:
            async with ledger_reader() as reader:
                answer, events = await self._ask(asked, LedgerSource(reader, self.part))
        return self._report(answer, events, time.monotonic() - started)

    async def _ask(self, asked: Asked, source: Source) -> tuple[Answer, int]:
        total = await source.count()
        with bar(total, shown=bar_is_shown(wanted=self.bar)) as advance:
            return await ask(asked, source, advance=advance), total

    def _report(self, answer: Answer, events: int, seconds: float) -> dict[str, Any]:
        report = answer.report
        if not report["totals"]["decisions"]:
            missing = ", ".join(report["projects_missing"])
            why = (
                f"there is no project file of {missing}"
                if missing
                else "the history that was asked for has no decision"
            )
            raise ConfigurationError(f"nothing to compare: {why}; see --since, --project-name, --conversation")
        until = self.part.until
        return {
            "differs": report["differs"],
            "totals": {**report["totals"], "events": events, "seconds": round(seconds, 3)},
            "compared_with": {
                **answer.ready,
                "follow": self.follow,
                "since": self.since.isoformat() if self.since else None,
                "until": until.isoformat() if until else None,
                "history": str(self.history) if self.history else "the ledger",
            },
            **{name: value for name, value in report.items() if name not in ("differs", "totals")},
        }

    def _project_files(self) -> list[tuple[str, str]]:
        """The files of CHATLEDGER_PROJECTS; a folder that is not there is none where changed files are given."""
        folder = read_settings(UpSettings).projects
        paths = sorted(folder.glob("*.yaml"))
        if not paths and not self.projects:
            raise ConfigurationError(
                f"no project files (*.yaml) in {folder}: set CHATLEDGER_PROJECTS to the folder that has them"
            )
        return [_read(path) for path in paths]


def _read(path: Path) -> tuple[str, str]:
    try:
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigurationError(f"{path}: cannot be read as UTF-8 text: {wrong}") from wrong
