"""`chatledger state`: what is known of a conversation, an order, an invoice or a client, now or as it was then."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
import typer

from chatledger.replay import said_of_passed_over
from chatledger_cli.moments import AT, POSITION, moment_of, shown
from chatledger_cli.past import THING, Thing, opened_past, read_thing, settled, unknown
from chatledger_cli.state_text import describe
from chatledger_ledger.moments import Moment


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("state")(state)


def state(
    thing: Annotated[list[str], THING],
    at: Annotated[str | None, AT] = None,
    position: Annotated[int | None, POSITION] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The state as one line of canonical JSON.")] = False,
) -> None:
    """Show what is known of a conversation, an order, an invoice or a client, now or as it was known at a moment.

    Example: chatledger state order-form/chat2desk/77 --at -10m

    Example: chatledger state order 7QK2-M0XF --position 1200 --json

    Example: chatledger state client +919900000001
    """
    moment = Moment(time=moment_of(at, position), position=position)
    asyncio.run(_state(read_thing(thing), moment, as_json))


async def _state(asked: Thing, moment: Moment, as_json: bool) -> None:
    async with opened_past() as past:
        thing = await settled(past, asked)
        known = await past.travel.state(thing.kind, thing.id, moment)
        if known is None:
            raise await unknown(past, thing)
    if known.last_event is None:
        first = f"recorded at {shown(known.first.recorded_at)}, position {known.first.position}"
        typer.echo(f"nothing was known then: its first event was {first}", err=True)
    if known.passed_over:
        typer.echo(said_of_passed_over(known.passed_over), err=True)
    typer.echo(orjson.dumps(known.state) if as_json else describe(known))
