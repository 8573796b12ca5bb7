"""`chatledger state`: what is known of a conversation, now or as it was known at a moment."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from chatledger.conversation import encode_state
from chatledger.errors import ConfigurationError
from chatledger.ports import Selection
from chatledger.replay import state_of
from chatledger_cli.connect import ledger_reader
from chatledger_cli.moments import AT, POSITION, moment_of, shown
from chatledger_cli.state_text import alike, describe_state


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("state")(state)


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


async def _state(conversation: str, until_time: datetime | None, until_position: int | None, as_json: bool) -> None:
    async with ledger_reader() as reader:
        known = await state_of(reader, conversation, until_position=until_position, until_time=until_time)
        if known.last_event is None:
            first = [event async for event in reader.read(Selection(stream=f"conversation-{conversation}"))][:1]
            if not first:
                raise ConfigurationError(alike(conversation, await reader.conversations()))
            recorded_at, position = shown(first[0].recorded_at), first[0].position
            typer.echo(
                f"nothing was known then: its first event was recorded at {recorded_at}, position {position}", err=True
            )
    typer.echo(encode_state(known.state) if as_json else describe_state(conversation, known))
