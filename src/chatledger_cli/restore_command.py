"""`chatledger restore`: after the loss of a whole broker, the new one is made fit from the ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import orjson
import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from chatledger import topics
from chatledger.adapters.kafka import cluster_id
from chatledger.errors import ConfigurationError
from chatledger.ports import TopicPartition
from chatledger.project_files import load_projects
from chatledger.settings import read_settings
from chatledger_cli.backends import make_topics, migrate_all
from chatledger_cli.connect import database_url
from chatledger_cli.moments import read_moment, shown
from chatledger_cli.progress_bar import RateColumn
from chatledger_cli.restoring import Place, Restored, Watch, restore
from chatledger_cli.running import only_one
from chatledger_cli.services import services_of
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.restore_broker import members, standings
from chatledger_ledger.restore_plan import EVERYWHERE, StartedRestore, Wanted, find_started, was_recorded_from

ALREADY = "this broker was restored already, at {at}: nothing is left to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How much is wanted, and what to say of it."""

    since: datetime | None = None
    dry_run: bool = False
    force: bool = False
    as_json: bool = False


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("restore")(restore_broker)


def restore_broker(
    since: Annotated[
        str | None,
        typer.Option(help="Put back what was recorded since then: a time, or -7d; by default all of history."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even where topics hold records already: they are put behind history, and kept."),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="End with one line of JSON: events, conversations, topics, positions, again, lost, seconds."
        ),
    ] = False,
) -> None:
    """After the loss of a whole broker: put topics, the dialog's table and every position back from the ledger.

    Stop all services, start the new broker, point CHATLEDGER_BROKER at it, restore, then start the services again. Each
    goes on where it was: nothing is handled twice, nothing that was recorded is left out. What a service had not
    handled is put back whatever --since says. It can be stopped at any time and run again.

    Example: chatledger restore --since -7d
    """
    moment = None if since is None else read_moment(since, datetime.now(UTC))
    asyncio.run(run(Wish(since=moment, dry_run=dry_run, force=force, as_json=as_json)))


async def run(wish: Wish) -> None:
    """Restore, and say what was done. Raises ConfigurationError, OutsideUnavailable."""
    settings = read_settings(UpSettings)
    if not settings.broker:
        raise ConfigurationError(
            "a restore needs the new broker: set CHATLEDGER_BROKER; the embedded one is restored whenever it starts"
        )
    projects = load_projects(settings.projects)
    with only_one(settings.data_dir):
        async with database_url(settings) as url:
            if not wish.dry_run:
                await migrate_all(url, services_of(projects))
            place = Place(
                broker=settings.broker,
                incarnation=settings.incarnation or await cluster_id(settings.broker),
                database=url,
                projects=projects,
            )
            started = await _require_restorable(place, wish)
            if started is not None and started.is_finished:
                _say_already(started, wish)
                return
            ends = {}
            if not wish.dry_run:
                await make_topics(place.broker)
                ends = await _ends(place, wish) if started is None else {}
            with _watched(shown=not wish.as_json) as watch:
                wanted = Wanted(since=wish.since)
                restored = await restore(place, wanted, watch=watch, dry_run=wish.dry_run, ends=ends)
            _say(restored, place, wish)


async def _require_restorable(place: Place, wish: Wish) -> StartedRestore | None:
    """Return the restore that was begun, None where none was. Raises ConfigurationError where none can be."""
    reading = {name: count for name, count in (await members(place.broker)).items() if count}
    if reading:
        groups = ", ".join(f"{name} ({count})" for name, count in sorted(reading.items()))
        raise ConfigurationError(f"services read from this broker: {groups}; stop every one of them, then restore")
    async with await psycopg.AsyncConnection.connect(place.database) as connection:
        try:
            started = await find_started(connection, place.incarnation)
        except psycopg.errors.UndefinedTable as wrong:
            raise ConfigurationError(
                "the ledger's tables are of an earlier version: run `chatledger restore` without --dry-run, which"
                " brings them up to date"
            ) from wrong
        is_known = await was_recorded_from(connection, place.incarnation)
    if started is None and is_known:
        raise ConfigurationError(
            "services have worked on this broker already, so nothing is to be restored: they go on where they were. If"
            " it was set up anew under its old cluster id, name this life of it with CHATLEDGER_INCARNATION, for every"
            " service, and restore again"
        )
    if started is not None and not started.is_finished and wish.since is not None:
        raise ConfigurationError(
            f"a restore of this broker was begun at {shown(started.started_at)} and goes on with its own bounds: run it"
            " without --since"
        )
    return started


async def _ends(place: Place, wish: Wish) -> dict[TopicPartition, int]:
    """Where the partitions end that are not empty. Raises ConfigurationError where any is, without --force."""
    ends = {at: standing.end for at, standing in (await standings(place.broker, EVERYWHERE)).items() if standing.end}
    if ends and not wish.force:
        there = Counter[str]()
        for at, end in ends.items():
            there[at.topic] += end
        raise ConfigurationError(
            f"topics of this broker hold records already: {', '.join(f'{name} ({there[name]:,})' for name in there)}."
            " With --force they are put behind history and read there; or delete these topics, where nobody needs them"
        )
    return ends


@contextlib.contextmanager
def _watched(*, shown: bool) -> Iterator[Watch]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        task = progress.add_task("restoring", total=None)

        def begin(part: str, rows: int) -> None:
            progress.reset(task, description=f"restoring {part}", total=rows or None)

        yield Watch(begin=begin, advance=lambda rows: progress.advance(task, rows))


def _say_already(started: StartedRestore, wish: Wish) -> None:
    if wish.as_json:
        _write_line(Restored(), already=True)
    else:
        typer.echo(ALREADY.format(at=shown(started.started_at)))


def _say(restored: Restored, place: Place, wish: Wish) -> None:
    if wish.as_json:
        _write_line(restored, already=False)
        return
    console = Console()
    table = Table("topic", "events", title="would be put back" if wish.dry_run else "put back")
    for topic in topics.ALL:
        table.add_row(topic, f"{restored.refilled.by_topic.get(topic, 0):,}")
    console.print(table)
    for line in _lines(restored, place, wish):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _lines(restored: Restored, place: Place, wish: Wish) -> Iterator[str]:
    refilled = restored.refilled
    yield f"{restored.conversations:,} conversations in the dialog's table, {restored.positions:,} positions set"
    if refilled.elsewhere:
        yield f"{refilled.elsewhere:,} events are in another partition than their key's hash says, as they were before"
    if refilled.left_out:
        yield f"{refilled.left_out:,} events were on no topic, and stay in the ledger alone"
    for name, count in restored.again.items():
        yield f"{count:,} events of {name} were published and not recorded: they are published again"
    if restored.lost:
        yield (
            f"{restored.lost:,} events are lost: something came of them, and nobody has them. The ledger names each as"
            " record.lost; docs/recovery.md says what to do"
        )
    yield f"{refilled.events:,} events in {restored.seconds:.1f} s, broker {place.incarnation}"
    if not wish.dry_run:
        yield "next: start the services (`chatledger up`), then `chatledger verify --settle 30`"


def _write_line(restored: Restored, *, already: bool) -> None:
    line = {
        "events": restored.refilled.events,
        "conversations": restored.conversations,
        "topics": len(topics.PLANS),
        "positions": restored.positions,
        "again": sum(restored.again.values()),
        "lost": restored.lost,
        "seconds": round(restored.seconds, 3),
        "already_restored": already,
    }
    typer.echo(orjson.dumps(line))
