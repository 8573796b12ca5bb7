"""`chatledger dead`: what could not be processed, and having it handled again once its cause is mended."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
import typer

from chatledger.adapters.kafka import KafkaPublisher, start_producer, stop_producer
from chatledger.errors import ConfigurationError
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import LedgerEvent
from chatledger_cli.connect import ledger_reader
from chatledger_cli.moments import shown
from chatledger_cli.places import bootstrap_servers
from chatledger_ledger.letters import Letters, find_letter, newest_letters, original_record

group = typer.Typer(help="Dead letters: what could not be processed, and putting it back.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="dead")


@group.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the whole record.")] = False,
) -> None:
    """List the dead letters in the ledger, the newest last: which record, of which service, and why.

    Example: chatledger dead list --limit 10
    """
    found = asyncio.run(_list(limit))
    for event, letter in found.letters:
        typer.echo(_json_line(event, letter) if as_json else _line(event, letter))
    if not found.letters and not found.unreadable:
        typer.echo("no dead letters", err=True)
    for event_id in found.unreadable:
        typer.echo(f"{event_id} was written by a newer chatledger, which can show it and put it back", err=True)


@group.command("put-back")
def put_back(
    letter_id: Annotated[str, typer.Argument(help="The id of a dead letter, from `chatledger dead list`.")],
) -> None:
    """Publish a dead letter's record once more, as it was, to the topic it came from; every service sees it again.

    A service that had handled it passes over it: ids are the same. One that still cannot makes another letter.

    Example: chatledger dead put-back 2638d425-4227-5eb8-98f5-51b222328b6d
    """
    typer.echo(asyncio.run(_put_back(letter_id)))


async def _list(limit: int) -> Letters:
    async with ledger_reader() as reader:
        return await newest_letters(reader, limit)


async def _put_back(letter_id: str) -> str:
    broker = bootstrap_servers()
    async with ledger_reader() as reader:
        letter = await find_letter(reader, letter_id)
    if letter is None:
        raise ConfigurationError(f"the ledger has no dead letter {letter_id!r}: `chatledger dead list` shows their ids")
    record = original_record(letter)
    producer = await start_producer(broker)
    try:
        await KafkaPublisher(producer).publish_raw(letter.topic, [record])
    finally:
        await stop_producer(producer)
    return f"put back to {letter.topic}; `chatledger tail --topic chat.dead` shows whether it comes again"


def _line(event: LedgerEvent, letter: RecordDeadLettered) -> str:
    place = f"{letter.topic}/{letter.partition}/{letter.offset}"
    about = f"{letter.service} {place} {event.envelope.conversation}"
    return f"{event.envelope.id} {shown(event.recorded_at)} {about}: {letter.reason}"


def _json_line(event: LedgerEvent, letter: RecordDeadLettered) -> bytes:
    fields = {"id": event.envelope.id, "recorded_at": event.recorded_at, "conversation": event.envelope.conversation}
    return orjson.dumps({**fields, "letter": letter}, option=orjson.OPT_UTC_Z)
