"""`chatledger diff`: what changed between two moments, and the events that did it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from chatledger.errors import ConfigurationError
from chatledger_cli.kinds import KINDS
from chatledger_cli.moments import read_moment, shown
from chatledger_cli.past import THING, Thing, opened_past, read_thing, settled, unknown
from chatledger_cli.state_text import describe_difference
from chatledger_ledger.moments import NOW, Moment
from chatledger_ledger.views import difference_view

WHEN = "a recorded time as --at of `chatledger state` takes it, or a position of the ledger as @1200."


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("diff")(diff)


def diff(
    thing: Annotated[list[str], THING],
    start: Annotated[str | None, typer.Option("--from", help=f"The earlier moment: {WHEN}")] = None,
    end: Annotated[str | None, typer.Option("--to", help=f"The later moment, now by default: {WHEN}")] = None,
    start_position: Annotated[
        int | None, typer.Option("--from-position", min=0, help="The earlier moment, by position.")
    ] = None,
    end_position: Annotated[
        int | None, typer.Option("--to-position", min=0, help="The later moment, by position.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show bookkeeping too, such as versions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one line of JSON.")] = False,
) -> None:
    """Show which fields changed between two moments, from what to what, and the events that did it.

    Example: chatledger diff order-form/chat2desk/77 --from -1h

    Example: chatledger diff order 7QK2-M0XF --from @1200 --to '2026-11-21 10:00' --json
    """
    now = datetime.now(UTC)
    earlier = _moment("--from", start, start_position, now)
    later = _moment("--to", end, end_position, now)
    if earlier is None:
        raise ConfigurationError(f"from when on? --from is {WHEN}")
    if later is not None and earlier.is_after(later):
        raise ConfigurationError("--from lies after --to: write the earlier moment first")
    asyncio.run(_diff(read_thing(thing), earlier, later or NOW, show_all, as_json))


async def _diff(asked: Thing, earlier: Moment, later: Moment, show_all: bool, as_json: bool) -> None:
    async with opened_past() as past:
        thing = await settled(past, asked)
        difference = await past.travel.difference(thing.kind, thing.id, earlier, later)
        if difference is None:
            raise await unknown(past, thing)
    if as_json:
        typer.echo(orjson.dumps(difference_view(difference), option=orjson.OPT_UTC_Z))
        return
    quiet = frozenset[str]() if show_all else frozenset[str]().union(*(kind.quiet for kind in KINDS))
    typer.echo(describe_difference(difference, quiet=quiet))


def _moment(option: str, text: str | None, position: int | None, now: datetime) -> Moment | None:
    if text is None:
        return None if position is None else Moment(position=position)
    if position is not None:
        raise ConfigurationError(f"{option} and {option}-position are two ways to say one thing: give one of them")
    if text.startswith("@"):
        if not (text[1:].isascii() and text[1:].isdigit()):
            raise ConfigurationError(f"{option} {text!r} is not a position: write @ and a number, such as @1200")
        return Moment(position=int(text[1:]))
    time = read_moment(text, now)
    typer.echo(f"{option.removeprefix('--')} {shown(time)}", err=True)
    return Moment(time=time)
