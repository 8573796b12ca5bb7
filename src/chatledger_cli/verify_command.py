"""`chatledger verify`: the report of all invariants, as a table or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from chatledger.settings import read_settings
from chatledger_cli.connect import broker_address, database_url
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.findings import Report
from chatledger_ledger.verification import verify

WHAT_TO_DO = {
    "I1": "see that the recorder runs and its lag falls (GET /health), then `chatledger verify --settle 30`; an id that"
    " stays missing was lost by the broker: have the provider send that message again",
    "I2": "the cause may still be on its way: `chatledger verify --settle 30`; else find out who published these events"
    " (their `source`)",
    "I4": "one conversation had two writers, or events were lost: keep the ledger as it is, see what is missing with"
    " `chatledger replay | grep STREAM`, and report it",
    "I5": "stop the dialog workers, run `chatledger rebuild dialog`, and start them again; if two processes disagree,"
    " the fold is at fault: report it",
    "I6": "billing may be behind: `chatledger verify --settle 30`; else see `chatledger dead list`, and correct the"
    " invoice with a new document, never in the ledger",
    "I7": "notify may be behind, or its token missing: `chatledger verify --settle 30`, then `chatledger dead list`",
    "I8": "the recorder is behind: `chatledger verify --settle 30`; a position above the end means that the broker was"
    " set up anew: set CHATLEDGER_INCARNATION to a new name",
}
"""What an operator does about a violation of each invariant."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("verify")(verify_ledger)


def verify_ledger(
    acknowledged: Annotated[
        Path | None, typer.Option(help="A file of acknowledged event ids, one a line.", exists=True, dir_okay=False)
    ] = None,
    settle: Annotated[float, typer.Option(min=0, help="Wait up to so many seconds until nothing is on its way.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one line of JSON.")] = False,
) -> None:
    """Check that nothing was lost, doubled or miscounted. Exit code 1 on any violation.

    Example: chatledger verify --settle 10
    """
    ids = None if acknowledged is None else acknowledged.read_text("utf-8").split()
    if not asyncio.run(run(ids, settle_s=settle, as_json=as_json)):
        raise typer.Exit(1)


async def run(ids: Sequence[str] | None, *, settle_s: float, as_json: bool) -> bool:
    """Check, show what was found, and return whether it is clean. Raises ConfigurationError, OutsideUnavailable."""
    settings = read_settings(UpSettings)
    async with database_url(settings) as url:
        report = await verify(url, broker=broker_address(settings), acknowledged=ids, settle_s=settle_s)
    if as_json:
        typer.echo(as_line(report))
    else:
        _show(report)
    return report.violations == 0


def as_line(report: Report) -> bytes:
    """Return the report as one line of JSON."""
    return orjson.dumps(
        {
            "violations": report.violations,
            "events": report.events,
            "state_hash": report.state_hash,
            "invariants": report.findings,
            "dead_letters": report.dead_letters,
        }
    )


def _show(report: Report) -> None:
    console = Console()
    table = Table("", "invariant", "checked", "violations")
    for finding in report.findings:
        note = f"\n[dim]{finding.note}[/dim]" if finding.note else ""
        style = "red" if finding.violations else None
        counts = f"{finding.checked:,}", f"{finding.violations:,}"
        table.add_row(finding.name, finding.title + note, *counts, style=style)
    console.print(table)
    for finding in report.findings:
        for example in finding.examples:
            console.print(f"{finding.name}: {example}", highlight=False, markup=False, soft_wrap=True, style="red")
        if finding.violations:
            console.print(f"{finding.name}: {WHAT_TO_DO[finding.name]}", highlight=False, markup=False, soft_wrap=True)
    for letters in report.dead_letters:
        said = f"dead letters: {letters.count} of {letters.service}: {letters.reason}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if report.dead_letters:
        console.print("`chatledger dead list` shows them; `chatledger dead put-back ID` retries one", soft_wrap=True)
    verdict = f"{report.violations:,} violations" if report.violations else "no violation"
    console.print(
        f"{report.events:,} events, {verdict}, state hash {report.state_hash}", highlight=False, soft_wrap=True
    )
