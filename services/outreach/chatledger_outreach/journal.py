"""The journal: what this service decided, in streams, kept in Postgres and published from there by the relay.

An append belongs to its caller's transaction, so that a decision, its effects in other tables, and the notice that
it leads to on another topic are there together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import ChatledgerError
from chatledger.events.base import Event
from chatledger.events.codec import decode_data, encode_data, type_and_version
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.topics import OUTREACH
from chatledger_outreach.sql import query

SOURCE = "/chatledger/outreach"


class Conflict(ChatledgerError):
    """Somebody else decided for the same stream in the meantime: fold it again and decide anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why something was decided, and when. `id` is what the ids of the decisions are derived from.

    `causation_id` is the event that it was decided because of, None where it was a request.
    """

    id: str
    causation_id: str | None
    correlation_id: str
    traceparent: str | None
    time: datetime


def caused(envelope: Envelope) -> Cause:
    """Return an event as a cause, whose time is the decision's."""
    return Cause(
        id=envelope.id,
        causation_id=envelope.id,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        time=envelope.time,
    )


def requested(id: str, time: datetime) -> Cause:
    """Return a request as a cause; `id` is the same where the same request comes again."""
    return Cause(id=id, causation_id=None, correlation_id=id, traceparent=None, time=time)


def decided(events: Sequence[Event], cause: Cause, *, key: str, stream: str, last_version: int) -> list[Envelope]:
    """Wrap decisions for their stream. A cause may lead to events in several streams, so ids come from both."""
    return [
        Envelope(
            id=derive_id(cause.id, stream, version),
            source=SOURCE,
            conversation=key,
            time=cause.time,
            stream=stream,
            stream_version=version,
            correlation_id=cause.correlation_id,
            causation_id=cause.causation_id,
            traceparent=cause.traceparent,
            data=event,
        )
        for version, event in enumerate(events, start=last_version + 1)
    ]


class Journal:
    """Streams of events in the table outreach.events."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, connection: Connection, envelopes: Sequence[Envelope], *, topic: str = OUTREACH) -> None:
        """Append events, to be published to `topic`, within the caller's transaction.

        An event whose id is there already is left alone. Raises Conflict, and appends nothing, when the place of
        another one in its stream is taken.
        """
        if not envelopes:
            return
        async with connection.transaction():
            rows = await connection.execute(query("append_events"), _columns(envelopes, topic))
            new = {row[0] for row in await rows.fetchall()}
            missing = [each.id for each in envelopes if each.id not in new]
            if missing:
                rows = await connection.execute(query("known_events"), (missing,))
                known = {row[0] for row in await rows.fetchall()}
                taken = next((each for each in envelopes if each.id not in new | known), None)
                if taken is not None:
                    raise Conflict(f"{taken.stream} has a version {taken.stream_version} already")

    async def read(self, connection: Connection, stream: str) -> list[Envelope]:
        """Return the events of a stream, oldest first."""
        rows = await connection.execute(query("read_stream"), (stream,))
        return [stored_envelope(row) for row in await rows.fetchall()]

    async def history(self, stream: str) -> list[Envelope]:
        """The same on a connection of its own."""
        async with self._pool.connection() as connection:
            return await self.read(connection, stream)


def stored_envelope(row: Sequence[Any]) -> Envelope:
    """Read the columns that every query over events begins with."""
    return Envelope(
        id=row[0],
        source=row[1],
        conversation=row[2],
        stream=row[3],
        stream_version=row[4],
        data=decode_data(row[5], row[6], row[11].encode()),
        time=row[7].astimezone(UTC),
        correlation_id=row[8],
        causation_id=row[9],
        traceparent=row[10],
    )


def _columns(envelopes: Sequence[Envelope], topic: str) -> tuple[list[Any], ...]:
    kinds = [type_and_version(each.data) for each in envelopes]
    return (
        [each.id for each in envelopes],
        [topic for _ in envelopes],
        [each.source for each in envelopes],
        [each.conversation for each in envelopes],
        [each.stream for each in envelopes],
        [each.stream_version for each in envelopes],
        [kind for kind, _ in kinds],
        [version for _, version in kinds],
        [each.time for each in envelopes],
        [each.correlation_id for each in envelopes],
        [each.causation_id for each in envelopes],
        [each.traceparent for each in envelopes],
        [encode_data(each.data).decode() for each in envelopes],
    )
