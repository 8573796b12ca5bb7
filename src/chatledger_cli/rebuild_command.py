"""`chatledger rebuild`: what was made from the topics, made anew from the ledger while traffic flows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.adapters.rebuilding.declared import Rebuildable
from chatledger.adapters.rebuilding.rebuild import PATIENCE_S, Outcome, is_there, rebuild
from chatledger.errors import ConfigurationError
from chatledger.project_files import load_projects
from chatledger.settings import read_settings
from chatledger_cli import rebuild_dialog
from chatledger_cli.connect import database_url
from chatledger_cli.progress_bar import RateColumn
from chatledger_cli.read_models import ALL, DIALOG, READ_MODELS, chosen
from chatledger_cli.up_settings import UpSettings

READER_CONNECTIONS_MAX = 3

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be made anew, and how."""

    names: tuple[str, ...]
    check: bool
    as_json: bool
    wait_s: float


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("rebuild")(rebuild_read_models)


def rebuild_read_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="A read model, one of its tables, a service, `all`, or `dialog`; none: list them."
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what can be made anew.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the live one instead of replacing it; exit 1 on differences.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON each: name, events, rows, seconds, locked_ms, differences.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=1, help="How many seconds to wait for the ledger and for a free moment.")
    ] = PATIENCE_S,
) -> None:
    """Make read models anew from the ledger, beside the live ones, and switch to them in one transaction each.

    Traffic goes on meanwhile: who reads sees the old rows, then the new ones. What is not history stays as it is.

    Example: chatledger rebuild billing.orders --check
    """
    if listed or not names:
        _list(as_json)
        return
    wish = Wish(names=tuple(names), check=check, as_json=as_json, wait_s=wait_s)
    if not asyncio.run(run(wish)):
        raise typer.Exit(1)


async def run(wish: Wish) -> bool:
    """Do it, one after the other; return whether everything is as it should be. Raises ConfigurationError, and others.

    What is named and not there is a mistake; of `all` it is passed over.
    """
    if DIALOG in wish.names and wish.check:
        raise ConfigurationError("the dialog's table is compared by `chatledger verify`, not by rebuild --check")
    models = chosen([name for name in wish.names if name != DIALOG])
    right = True
    if models:
        settings = read_settings(UpSettings)
        projects = load_projects(settings.projects)
        async with database_url(settings) as url:
            pool = await open_pool(url, connections_max=READER_CONNECTIONS_MAX, role=ROLE)
            try:
                for model in await _present(models, url, wish):
                    with _progress(model, shown=not wish.as_json) as advance:
                        outcome = await rebuild(
                            model,
                            url=url,
                            reader=PostgresLedgerReader(pool),
                            projects=projects,
                            check=wish.check,
                            patience_s=wish.wait_s,
                            advance=advance,
                        )
                    _tell(model, outcome, as_json=wish.as_json)
                    right = right and not (outcome.comparison and outcome.comparison.count)
            finally:
                await pool.close()
    if DIALOG in wish.names:
        await rebuild_dialog.run(as_json=wish.as_json)
    return right


async def _present(models: Sequence[Rebuildable], url: str, wish: Wish) -> list[Rebuildable]:
    present = [model for model in models if await is_there(url, model)]
    missing = [model for model in models if model not in present]
    if missing and ALL not in wish.names:
        raise ConfigurationError(
            f"{missing[0].service} has not set up {missing[0].name} in this database: start the service once"
        )
    for model in missing:
        typer.echo(f"{model.name}: passed over, {model.service} has never run on this database", err=True)
    return present


def _list(as_json: bool) -> None:
    """Show every read model, and what is in it."""
    shown = [(model.name, list(model.table_names), model.sentence) for model in READ_MODELS]
    shown.append(
        (DIALOG, [], "The dialog's table: the state of each conversation, on its changelog topic; not in `all`.")
    )
    for name, tables, sentence in shown:
        if as_json:
            typer.echo(orjson.dumps({"name": name, "tables": tables, "sentence": sentence}))
        else:
            also = ", ".join(tables[1:])
            typer.echo(f"{name:<20} {sentence}" + (f" Tables beside it: {also}." if also else ""))


def _tell(model: Rebuildable, outcome: Outcome, *, as_json: bool) -> None:
    compared = outcome.comparison
    if as_json:
        line: dict[str, Any] = {
            "name": model.name,
            "events": outcome.events,
            "put_aside": outcome.put_aside,
            "rows": outcome.rows,
            "seconds": round(outcome.seconds, 3),
            "locked_ms": round(outcome.locked_ms, 1),
            "differences": compared.count if compared else None,
        }
        if compared:
            line["differing"] = [asdict(each) for each in compared.shown]
        typer.echo(orjson.dumps(line))
        return
    aside = f", {outcome.put_aside:,} of them dead letters" if outcome.put_aside else ""
    made = f"{outcome.rows:,} rows from {outcome.events:,} events{aside} in {outcome.seconds:.1f} s"
    held = f"writers waited for {outcome.locked_ms:.0f} ms"
    if compared is None:
        typer.echo(f"{model.name}: {made}; {held}")
        return
    typer.echo(f"{model.name}: {compared.count:,} differences, by {made}; {held}")
    for each in compared.shown:
        what = f"{', '.join(each.columns)} is not what history says" if each.columns else _KINDS[each.kind]
        typer.echo(f"  {each.table} {'/'.join(each.key)}: {what}")
    if compared.count > len(compared.shown):
        typer.echo(f"  and {compared.count - len(compared.shown):,} more")


_KINDS = {"missing": "the row is missing", "needless": "history knows no such row"}


@contextlib.contextmanager
def _progress(model: Rebuildable, *, shown: bool) -> Iterator[Advance]:
    """A bar on standard error, where that is a terminal: how far of the ledger, and how long it takes."""
    console = Console(stderr=True)
    columns = (TextColumn(model.name), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        bar = progress.add_task(model.name, total=None)

        def advance(position: int, last: int) -> None:
            progress.update(bar, completed=position, total=last)

        yield advance
