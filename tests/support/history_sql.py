"""A ledger for the tests of the schema `history`: envelopes go in one by one, so that each has a moment of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from chatledger import topics
from chatledger.adapters.ledger_reader import ROLE as READER
from chatledger.adapters.ledger_records import LedgerRecord, recorded, wire_of
from chatledger.conversation import Conversation, initial
from chatledger.events import Envelope, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived
from chatledger.flows.pipeline import handle
from chatledger.ports import ConsumedRecord, LedgerEvent, Selection
from chatledger.projects import Project
from chatledger.replay import fold_into
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.dialog import START
from tests.support.ledger import Placed, open_ledger

Row = dict[str, Any]
Said = str | Callable[[Conversation], Event]
"""What a client writes, or another input, made from what is known by then."""


@dataclass(kw_only=True)
class HistoryDatabase:
    """A ledger to record into, and a connection that has no other rights than an analyst's."""

    ledger: PostgresLedger
    analyst: psycopg.AsyncConnection[Row]
    offsets: count[int]

    async def record(self, placed: Placed, *, at_once: int = 1) -> list[LedgerEvent]:
        """Record envelopes, so many in each transaction, and return them as the ledger has them."""
        before = await self.ledger.last_position()
        records = [recorded(each, topic=topic, offset=next(self.offsets)) for topic, each in placed]
        await self.record_raw(records, at_once=at_once)
        return [event async for event in self.ledger.read(Selection(after=before))]

    async def record_raw(self, records: Sequence[ConsumedRecord], *, at_once: int = 1) -> None:
        """Record records as they are."""
        for start in range(0, len(records), at_once):
            await self.ledger.append(records[start : start + at_once])

    @staticmethod
    def json(text: bytes) -> Any:
        """JSON as psycopg reads it from jsonb."""
        return json.loads(text)

    async def ask(self, query: str, *parameters: object) -> list[Row]:
        """Ask as an analyst."""
        return await (await self.analyst.execute(query.encode(), parameters or None)).fetchall()


@asynccontextmanager
async def history_database(url: str) -> AsyncIterator[HistoryDatabase]:
    """Open a ledger on an empty database, or on one that has a ledger already. It need not outlive a power cut."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as owner:
        name = sql.Identifier(url.rpartition("/")[2])
        await owner.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
    async with (
        open_ledger(url, incarnation=f"run {derive_id(str(datetime.now(UTC)))}") as ledger,
        await psycopg.AsyncConnection[Row].connect(url, autocommit=True, row_factory=dict_row) as analyst,
    ):
        await analyst.execute(f"SET ROLE {READER}".encode())
        yield HistoryDatabase(ledger=ledger, analyst=analyst, offsets=count())


def conversed(
    project: Project, channel: str, client: str, steps: Iterable[Said], *, every: timedelta = timedelta(seconds=20)
) -> Placed:
    """What a client said to a project, and what the flow decided about it."""
    state, placed, time = initial(), Placed(), START
    conversation = conversation_id(project.name, channel, client)
    for number, step in enumerate(steps):
        event = heard(channel, client, number, step) if isinstance(step, str) else step(state)
        time = max(time + every, getattr(event, "due", START))
        cause = from_outside(
            event,
            id=derive_id(conversation, number),
            source="/chatledger/ingress",
            conversation=conversation,
            time=time,
        )
        state, decided = handle(state, cause, {project.name: project})
        placed += [(topics.INBOUND, cause), *((topics.DIALOG, each) for each in decided)]
    return placed


def heard(channel: str, client: str, number: int, text: str) -> MessageReceived:
    """A message as a channel reads it."""
    return MessageReceived(
        channel=channel, client_id=client, provider_message_id=f"{client}-{number}", text=text, reply_to={}, raw={}
    )


def old_records(lines: Sequence[bytes], *, client: str, offsets: Iterator[int]) -> list[ConsumedRecord]:
    """Records of recorded lines of NDJSON, word for word but for their ids and their client, who is called `client`."""
    conversation = orjson.loads(lines[0])["metadata"]["conversation"]
    renamed = f"{conversation.rpartition('/')[0]}/{client}"
    records = []
    for line in lines:
        columns = orjson.loads(line.replace(conversation.encode(), renamed.encode()))
        columns["id"] = derive_id(client, columns["id"])
        cause = columns["metadata"]["causationid"]
        columns["metadata"]["causationid"] = cause and derive_id(client, cause)
        kept = LedgerRecord(
            columns["id"],
            columns["stream"],
            columns["version"],
            columns["type"],
            orjson.dumps(columns["data"]),
            orjson.dumps(columns["metadata"]),
            datetime.fromisoformat(columns["occurred_at"]),
            columns["topic"],
            0,
            next(offsets),
        )
        wire = wire_of(kept)
        records.append(
            ConsumedRecord(
                topic=kept.topic,
                partition=0,
                offset=kept.source_offset,
                key=wire.key,
                value=wire.value,
                headers=wire.headers,
            )
        )
    return records


def known_conversations(events: Iterable[LedgerEvent]) -> dict[str, Row]:
    """What history.conversations_at shows, by the fold in Python."""
    states: dict[str, Conversation] = {}
    rows: dict[str, Row] = {}
    for event in events:
        envelope = event.envelope
        before = states.get(envelope.conversation)
        fold_into(states, envelope)
        state = states.get(envelope.conversation)
        if state is None or state is before:
            continue
        row = rows.setdefault(envelope.conversation, {"sessions": 0, "started_at": None})
        if isinstance(envelope.data, dialog.ConversationStarted):
            row |= {"sessions": row["sessions"] + 1, "started_at": envelope.time}
        row |= {"last_event_at": envelope.time, "last_position": event.position, "stream": envelope.stream}
        row |= _shown(envelope, state)
    return rows


def _shown(envelope: Envelope, state: Conversation) -> Row:
    project, channel, client = envelope.conversation.split("/", 2)
    shop = state.shop
    return {
        "conversation": envelope.conversation,
        "project": project,
        "channel": channel,
        "client_id": client,
        "status": str(state.status),
        "flow": state.flow,
        "language": state.language,
        "address": state.address,
        "phone": state.phone,
        "quantity": state.quantity,
        "order_id": state.order_id,
        "opted_out": state.opted_out,
        "wrong_answers": state.wrong_answers,
        "cart": None if shop is None else [without_nulls(asdict(line)) for line in shop.cart],
        "open_choices": 0 if shop is None else len(shop.choices),
        "discount_code": None if shop is None else shop.discount_code,
        "last_message_at": state.last_message_at,
        "version": state.version,
    }


def without_nulls(fields: Row) -> Row:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def in_stream_of(envelope: Envelope, conversation: str, *, number: int, version: int | None) -> Envelope:
    """The envelope as one of this conversation's own, with an id that no other has."""
    return replace(
        envelope,
        id=derive_id(conversation, number),
        conversation=conversation,
        stream=f"conversation-{conversation}",
        stream_version=version,
    )
