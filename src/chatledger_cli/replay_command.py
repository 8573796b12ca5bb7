"""`chatledger replay`: history in its order, folded, and handed on as it was recorded, with a hash at the end."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from chatledger.errors import ChatledgerError, ConfigurationError
from chatledger.replay import said_of_passed_over
from chatledger_cli.moments import shown
from chatledger_cli.replay.pace import read_pace
from chatledger_cli.replay.run import Plan, Replay
from chatledger_cli.replay.table import split_name
from chatledger_cli.replay.topic import require_other_topic
from chatledger_cli.selection import Chosen, Words, choose

WHICH, WHERE, HOW = "Which events", "Where they go", "How"

Since = Annotated[
    str | None,
    typer.Option(
        help="From this recorded time on: 2026-11-21, '2026-11-21 10:00' (local time), with an offset, or -7d.",
        rich_help_panel=WHICH,
    ),
]
Until = Annotated[str | None, typer.Option("--until", "--at", help="Up to this recorded time.", rich_help_panel=WHICH)]
After = Annotated[
    int, typer.Option("--after-position", min=0, help="Begin after this position.", rich_help_panel=WHICH)
]
UntilPosition = Annotated[
    int | None, typer.Option("--until-position", min=0, help="End with this position.", rich_help_panel=WHICH)
]
Stream = Annotated[
    str | None, typer.Option(help="Only this stream, such as order-ID or conversation-ID.", rich_help_panel=WHICH)
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only this type; 'order.*' takes a family. May be given again.", rich_help_panel=WHICH),
]
Project = Annotated[str | None, typer.Option(help="Only this project.", rich_help_panel=WHICH)]
ToTopic = Annotated[
    str | None,
    typer.Option(
        help="Publish them to this topic, which is made where it is missing; a live one is refused.",
        rich_help_panel=WHERE,
    ),
]
ToFile = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Write them to this new file, as NDJSON.", rich_help_panel=WHERE)
]
ToTable = Annotated[
    str | None,
    typer.Option(
        help="Copy them into this table, by their ids. Given again, the command brings the table up to date.",
        rich_help_panel=WHERE,
    ),
]
ToDatabase = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The Postgres database of --to-table.", rich_help_panel=WHERE),
]
Events = Annotated[bool, typer.Option("--events", help="With --json: print the events as well.", rich_help_panel=WHERE)]
Speed = Annotated[
    str,
    typer.Option(help="The recorded pace, times this: 1x, 10x, 0.5x; max is full speed.", rich_help_panel=HOW),
]
GapMax = Annotated[
    str | None,
    typer.Option(help="With --speed: no silence is longer than this, such as 5s or 500ms.", rich_help_panel=HOW),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        metavar="FILE",
        help="Keep the position in this file, and go on from it where it is there already.",
        rich_help_panel=HOW,
    ),
]
NoFold = Annotated[
    bool, typer.Option("--no-fold", help="Only hand events on: no state hash, and faster.", rich_help_panel=HOW)
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="End with one line of JSON: events, seconds, state_hash, ...", rich_help_panel=HOW),
]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("replay")(replay)


def replay(
    since: Since = None,
    until: Until = None,
    after_position: After = 0,
    until_position: UntilPosition = None,
    stream: Stream = None,
    types: Types = None,
    project: Project = None,
    to_topic: ToTopic = None,
    to_file: ToFile = None,
    to_table: ToTable = None,
    to_database: ToDatabase = None,
    events: Events = False,
    speed: Speed = "max",
    gap_max: GapMax = None,
    resume: Resume = None,
    no_fold: NoFold = False,
    as_json: AsJson = False,
) -> None:
    """Fold history again, in its order, and hand the events on as they were recorded: as NDJSON on standard output
    unless another place is named. It can send nothing: it has no credentials, and connects to nothing but the ledger
    and the place that you name.

    Ctrl-C ends it with exit code 130; with --resume it goes on later. A file or a table has every event once; on a
    topic the last second may come twice, with the same ce_id.

    Example: chatledger replay --json

    Example: chatledger replay --since -7d --type 'order.*' --to-file orders.ndjson --resume orders.position

    Example: chatledger replay --project my-store --to-topic rehearsal --speed 10x --gap-max 5s
    """
    words = Words(
        since=since,
        until=until,
        after_position=after_position,
        until_position=until_position,
        stream=stream,
        types=tuple(sorted(set(types or ()))),
        project=project,
    )
    targets = [each for each in (to_topic, to_file, to_table) if each is not None]
    plan = Plan(
        chosen=_chosen(words),
        to_topic=to_topic,
        to_file=to_file,
        to_table=to_table,
        to_database=to_database,
        print_events=not targets and (events or not as_json),
        resume=resume,
        pace=read_pace(speed, gap_max),
        fold=not no_fold,
        show_bar=bool(targets) or as_json or not sys.stdout.isatty(),
    )
    _require_one_place(plan, len(targets))
    _run(Replay(plan), plan, as_json=as_json)


def _run(replaying: Replay, plan: Plan, *, as_json: bool) -> None:
    try:
        asyncio.run(replaying.run())
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except KeyboardInterrupt:
        _say_how_to_go_on(replaying, plan)
        raise typer.Exit(130) from None
    except ChatledgerError:
        _say_how_to_go_on(replaying, plan)
        raise
    _summarise(replaying, as_json=as_json)


def _chosen(words: Words) -> Chosen:
    """Read the options, and say how times were understood. Raises ConfigurationError."""
    chosen = choose(words, datetime.now(UTC))
    if chosen.selection.since_time is not None:
        typer.echo(f"recorded since {shown(chosen.selection.since_time)}", err=True)
    if chosen.selection.until_time is not None:
        typer.echo(f"as known at {shown(chosen.selection.until_time)}", err=True)
    return chosen


def _require_one_place(plan: Plan, targets: int) -> None:
    """Raise ConfigurationError where the options contradict each other."""
    if targets > 1:
        raise ConfigurationError("--to-topic, --to-file and --to-table are three places: give one of them")
    if (plan.to_table is None) != (plan.to_database is None):
        raise ConfigurationError("a table needs both: --to-table NAME and --to-database URL")
    if plan.to_topic is not None:
        require_other_topic(plan.to_topic)
    if plan.to_table is not None:
        split_name(plan.to_table)
        if plan.resume is not None:
            raise ConfigurationError(
                "a table keeps its position itself, in the transaction of its events: leave --resume out, and give the"
                " same command again to go on"
            )
    if plan.resume is not None and not targets and not plan.print_events:
        raise ConfigurationError("--resume needs events that are handed on: name a place, or add --events")


def _say_how_to_go_on(replaying: Replay, plan: Plan) -> None:
    """Say how far it came, where it came anywhere."""
    reached = replaying.progress
    if reached is None or reached.last_id is None:
        return
    if plan.resume is not None or plan.to_table is not None:
        how = "give the same command again to go on"
    else:
        how = f"--after-position {reached.position} begins where it ended; with --resume FILE it goes on by itself"
    typer.echo(f"stopped after position {reached.position}, {reached.events:,} events: {how}", err=True)


def _summarise(replaying: Replay, *, as_json: bool) -> None:
    summary = replaying.summary()
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(summary) + b"\n")
        sys.stdout.buffer.flush()
        return
    if said := said_of_passed_over(summary["passed_over"]):
        typer.echo(said, err=True)
    seconds, written = summary["seconds"], summary["written"]
    rate = f"{written / seconds:,.0f} a second" if seconds > 0 else "at once"
    went_on = f", after position {summary['resumed_after']}" if summary["resumed_after"] is not None else ""
    hashed = f", state hash {summary['state_hash']}" if summary["state_hash"] is not None else ""
    Console(stderr=True).print(
        f"{written:,} events in {seconds:.1f} s ({rate}){went_on}{hashed}", highlight=False, soft_wrap=True
    )
