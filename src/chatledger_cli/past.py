"""What the commands about the past share: which thing is meant, where it is looked up, what to say of one unknown."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import typer

from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.errors import ConfigurationError
from chatledger.settings import read_settings
from chatledger_cli.connect import database_url
from chatledger_cli.kinds import CONVERSATION, KINDS, numbers_at
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.kinds import CLIENT, CLIENTS
from chatledger_ledger.time_travel import TimeTravel

THING = typer.Argument(
    metavar="[KIND] ID",
    help="conversation, order, invoice or client, and its id; a conversation's id, project/channel/client, is enough."
    " An order or an invoice may be named by its number, a client by project/client too.",
)
SUGGESTIONS_MAX = 5
BEGINNING_LENGTH_MIN = 4
"""Of an id that is suggested because it begins like this; shorter ones would suggest anything."""

NAMES = {**{kind.name: kind.name for kind in KINDS}, CLIENT: CLIENT}
_PLURALS = {**{kind.plural: kind.name for kind in KINDS}, CLIENTS: CLIENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What is asked about: a kind's name, and an id or a number."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The ledger, to be asked about the past, and its reader."""

    travel: TimeTravel
    reader: PostgresLedgerReader


def read_thing(words: Sequence[str]) -> Thing:
    """Read `[KIND] ID`. Raises ConfigurationError that says which kinds there are."""
    kinds = ", ".join(NAMES)
    if len(words) == 1:
        if words[0] in NAMES:
            raise ConfigurationError(f"which {words[0]}? Write its id behind it")
        return Thing(kind=CONVERSATION.name, id=words[0])
    kind = (NAMES | _PLURALS).get(words[0])
    if kind is None or len(words) > 2:
        raise ConfigurationError(f"{' '.join(words)!r} is no [KIND] ID: a kind is one of {kinds}")
    return Thing(kind=kind, id=words[1])


@asynccontextmanager
async def opened_past() -> AsyncIterator[Past]:
    """The ledger that the environment names. Raises ConfigurationError, OutsideUnavailable."""
    async with database_url(read_settings(UpSettings)) as url:
        pool = await open_pool(url, connections_max=2, role=ROLE)
        try:
            yield Past(travel=TimeTravel(pool, KINDS, numbers=numbers_at(url)), reader=PostgresLedgerReader(pool))
        finally:
            await pool.close()


async def settled(past: Past, thing: Thing) -> Thing:
    """Return the thing by its id, where it was named by a number. Raises ConfigurationError."""
    if thing.kind in (CONVERSATION.name, CLIENT):
        return thing
    found = await past.travel.find(thing.kind, thing.id)
    if len(found) > 1:
        raise ConfigurationError(f"several have the number {thing.id}; use an id: {', '.join(found)}")
    if not found:
        raise await unknown(past, thing)
    return Thing(kind=thing.kind, id=found[0])


async def unknown(past: Past, thing: Thing) -> ConfigurationError:
    """Return the error that says that there is no such thing, and what may have been meant."""
    if thing.kind in (CONVERSATION.name, CLIENT):
        conversations = await past.reader.conversations()
        if thing.kind == CONVERSATION.name:
            return ConfigurationError(alike(thing.id, conversations))
        clients = sorted({each.split("/", 2)[-1] for each in conversations})
        return ConfigurationError(
            alike(
                thing.id,
                clients,
                kind=CLIENT,
                hint="a client is named by the provider's id for them, or as project/client",
            )
        )
    for kind in KINDS:
        if kind.name != thing.kind and await past.travel.find(kind.name, thing.id):
            return ConfigurationError(f"this is the id of the {kind.name}: `chatledger state {kind.name} {thing.id}`")
    near = []
    if len(thing.id) >= BEGINNING_LENGTH_MIN:
        near = await past.travel.beginning_with(thing.kind, thing.id)
    return ConfigurationError(
        alike(thing.id, near, kind=thing.kind, hint=f"an {thing.kind} is named by its id or its number")
    )


def alike(
    id: str,
    known: Sequence[str],
    *,
    kind: str = CONVERSATION.name,
    hint: str = "an id looks like project/channel/client",
) -> str:
    """Return the sentence that says that there is no such thing, with ids that are alike."""
    containing = [each for each in known if id and id in each]
    near = difflib.get_close_matches(id, known, n=SUGGESTIONS_MAX, cutoff=0.6)
    suggestions = list(dict.fromkeys([*containing, *near]))[:SUGGESTIONS_MAX]
    message = f"the ledger knows no {kind} {id!r}"
    if suggestions:
        return f"{message}; did you mean {', '.join(suggestions)}?"
    return f"{message}; {hint}" + (f", such as {known[0]}" if known else "")
