"""`chatledger verify`: the report of all invariants, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import typer
from rich.console import Console
from rich.table import Table

from chatledger_cli.connect import broker_address, database_url
from chatledger_cli.up_settings import UpSettings, read_settings
from chatledger_ledger.findings import Report
from chatledger_ledger.verification import verify


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
            console.print(f"{finding.name}: {example}", highlight=False, markup=False, style="red")
    for letters in report.dead_letters:
        console.print(
            f"dead letters: {letters.count} of {letters.service}: {letters.reason}", highlight=False, markup=False
        )
    verdict = f"{report.violations:,} violations" if report.violations else "no violation"
    console.print(f"{report.events:,} events, {verdict}, state hash {report.state_hash}", highlight=False)
