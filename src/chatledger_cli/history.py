"""The history commands: `state`, `replay`, `rebuild dialog`, `verify`. They can send to no client."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from chatledger.conversation import encode_state
from chatledger.errors import ConfigurationError
from chatledger.replay import state_of
from chatledger_cli import history_rebuild, history_replay, history_verify
from chatledger_cli.connect import ledger_reader
from chatledger_cli.history_text import alike, describe_state
from chatledger_cli.moments import read_moment, shown

AT = typer.Option(
    "--at",
    help="As it was known at this recorded time: 2026-11-21, '2026-11-21 10:00' (local time), with an offset, or -10m.",
)
POSITION = typer.Option("--position", min=0, help="As it was known at this position of the ledger.")


def register(app: typer.Typer) -> None:
    """Add the history commands to the command line."""
    app.command("state")(state)
    app.command("replay")(replay)
    app.command("verify")(verify)
    rebuild = typer.Typer(help="Make anew, from the ledger, what was made from the topics.", no_args_is_help=True)
    rebuild.command("dialog")(rebuild_dialog)
    app.add_typer(rebuild, name="rebuild")


def state(
    conversation: Annotated[str, typer.Argument(help="A conversation id: project/channel/client.")],
    at: Annotated[str | None, AT] = None,
    position: Annotated[int | None, POSITION] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The state as one line of canonical JSON.")] = False,
) -> None:
    """Show what is known of a conversation, now or as it was known at a moment.

    Example: chatledger state order-form/chat2desk/77 --at -10m
    """
    asyncio.run(_state(conversation, moment_of(at, position), position, as_json))


def replay(
    at: Annotated[str | None, AT] = None,
    until_position: Annotated[int | None, typer.Option(min=0, help="End with this position of the ledger.")] = None,
    to_topic: Annotated[
        str | None, typer.Option(help="Publish the events to this topic, not to standard output.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="With --json: print the events as well.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON: events, seconds, state_hash.")
    ] = False,
) -> None:
    """Fold history again, in its order, and hand the events on: as NDJSON on standard output, or to a topic.

    Example: chatledger replay --json
    """
    plan = history_replay.Plan(
        until_time=moment_of(at, until_position),
        until_position=until_position,
        to_topic=to_topic,
        print_events=to_topic is None and (events or not as_json),
        print_summary=as_json,
    )
    try:
        asyncio.run(history_replay.run(plan))
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def rebuild_dialog(
    force: Annotated[bool, typer.Option("--force", help="Even while a dialog worker may be running.")] = False,
) -> None:
    """Write the dialog's table anew: every conversation's state, folded from the ledger, to its changelog topic."""
    asyncio.run(history_rebuild.run(force=force))


def verify(
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
    if not asyncio.run(history_verify.run(ids, settle_s=settle, as_json=as_json)):
        raise typer.Exit(1)


def moment_of(at: str | None, position: int | None) -> datetime | None:
    """Read --at, and say how it was understood. Raises ConfigurationError."""
    if at is None:
        return None
    if position is not None:
        raise ConfigurationError("--at and a position are two ways to say one thing: give one of them")
    moment = read_moment(at, datetime.now(UTC))
    typer.echo(f"as known at {shown(moment)}", err=True)
    return moment


async def _state(conversation: str, until_time: datetime | None, until_position: int | None, as_json: bool) -> None:
    async with ledger_reader() as reader:
        known = await state_of(reader, conversation, until_position=until_position, until_time=until_time)
        if known.last_event is None:
            first = [event async for event in reader.read(stream=f"conversation-{conversation}")][:1]
            if not first:
                raise ConfigurationError(alike(conversation, await reader.conversations()))
            recorded_at, position = shown(first[0].recorded_at), first[0].position
            typer.echo(
                f"nothing was known then: its first event was recorded at {recorded_at}, position {position}", err=True
            )
    typer.echo(encode_state(known.state) if as_json else describe_state(conversation, known))
