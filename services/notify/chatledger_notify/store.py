"""The schema `notify` in Postgres: each function is one statement of sql/queries.sql, for a whole batch.

A connection that a function takes belongs to the caller's transaction; the others use the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import InvariantViolated
from chatledger.events.codec import decode_data, encode_data
from chatledger.events.dialog import ReplyRequested
from chatledger.events.envelope import Envelope
from chatledger_notify.deliveries import Delivery, Result
from chatledger_notify.sql import named_queries
from chatledger_notify.timers import DueTimer, Timer

SCHEMA = "notify"
PACKAGE = "chatledger_notify"
TIMERS_AT_ONCE = 1_000

_QUERIES = named_queries()


class NotifyStore:
    """Deliveries and timers, as rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def insert_deliveries(self, connection: Connection, deliveries: Sequence[Delivery]) -> set[str]:
        """Take new deliveries, in order; return the ids that were not there already."""
        columns = (
            [each.id for each in deliveries],
            [each.request.conversation for each in deliveries],
            [each.partition for each in deliveries],
            [each.reply.channel for each in deliveries],
            [encode_data(each.reply).decode() for each in deliveries],
            [each.reply.version for each in deliveries],
            [each.request.time for each in deliveries],
            [each.request.correlation_id for each in deliveries],
            [each.request.traceparent for each in deliveries],
            [each.reply.regarding for each in deliveries],
        )
        rows = await connection.execute(_QUERIES["insert_deliveries"], columns)
        return {row[0] for row in await rows.fetchall()}

    async def clients_waiting(self, partition: int) -> list[tuple[str, datetime | None]]:
        """Each client with something unsent, and when its first message is due (None: now)."""
        return [(row[0], row[1]) for row in await self._fetch("clients_waiting", (partition,))]

    async def load_waiting(self, clients: Sequence[tuple[int, str]], *, limit: int) -> list[Delivery]:
        """The oldest unsent messages of (partition, conversation), at most `limit` of each, in the order of sending."""
        partitions, conversations = [client[0] for client in clients], [client[1] for client in clients]
        return [delivery_of(row) for row in await self._fetch("load_waiting", (partitions, conversations, limit))]

    async def record_results(self, connection: Connection, results: Sequence[Result]) -> set[str]:
        """Note what came of tries; return the ids of those that had not ended before.

        Reports that have been waiting for one of these messages may now be folded.
        """
        columns = (
            [each.delivery.id for each in results],
            [each.status for each in results],
            [each.attempts for each in results],
            [each.next_attempt_at for each in results],
            [each.provider_message_id for each in results],
            [each.reason for each in results],
            [each.http_status for each in results],
            [each.at if each.ended else None for each in results],
        )
        rows = await connection.execute(_QUERIES["record_results"], columns)
        return {row[0] for row in await rows.fetchall()}

    async def last_message_at(self, conversation: str) -> datetime | None:
        """When a client last wrote, as far as chat.inbound has been read; None: not within the last days."""
        rows = await self._fetch("last_message_at", (conversation,))
        return rows[0][0].astimezone(UTC) if rows else None

    async def load_unpublished(self, partition: int) -> list[Result]:
        """Deliveries that ended, but whose event the broker may not have."""
        return [
            Result(
                delivery=delivery_of(row),
                attempts=row[8],
                status=row[9],
                at=row[10].astimezone(UTC),
                provider_message_id=row[11],
                reason=row[12],
                http_status=row[13],
            )
            for row in await self._fetch("load_unpublished", (partition,))
        ]

    async def mark_published(self, connection: Connection, ids: Sequence[str]) -> None:
        """Note that the broker has these outcomes."""
        await connection.execute(_QUERIES["mark_published"], (list(ids),))

    async def save_timers(self, connection: Connection, timers: Sequence[Timer]) -> None:
        """Set timers; each (conversation, kind) may stand in `timers` once."""
        await connection.execute(_QUERIES["save_timers"], timer_columns(timers))

    async def claim_timers(self, partitions: Sequence[int], now: datetime) -> list[DueTimer]:
        """Fix the time of the timers that are due, at most a thousand, and return them."""
        arguments = {"partitions": list(partitions), "now": now, "limit": TIMERS_AT_ONCE}
        return [
            DueTimer(
                conversation=row[0],
                kind=row[1],
                due=row[2].astimezone(UTC),
                timer_id=row[3],
                correlation_id=row[4],
                traceparent=row[5],
                fired_at=row[6].astimezone(UTC),
            )
            for row in await self._fetch("claim_timers", arguments)
        ]

    async def delete_timers(self, fired: Sequence[DueTimer]) -> None:
        """Forget timers that have fired, but for those that were set anew in the meantime."""
        async with self._pool.connection() as connection:
            columns = ([e.conversation for e in fired], [e.kind for e in fired], [e.timer_id for e in fired])
            await connection.execute(_QUERIES["delete_timers"], columns)

    async def next_timer(self, partitions: Sequence[int]) -> datetime | None:
        """When the next timer of these partitions is due."""
        rows = await self._fetch("next_timer", (list(partitions),))
        due: datetime | None = rows[0][0]
        return due

    async def _fetch(self, query: str, arguments: Any) -> list[Any]:
        async with self._pool.connection() as connection:
            rows = await connection.execute(_QUERIES[query], arguments)
            return await rows.fetchall()


def timer_columns(timers: Sequence[Timer]) -> tuple[list[Any], ...]:
    """Return timers as the query `save_timers` takes them."""
    return (
        [each.conversation for each in timers],
        [each.kind for each in timers],
        [each.due for each in timers],
        [each.timer_id for each in timers],
        [each.version for each in timers],
        [each.partition for each in timers],
        [each.correlation_id for each in timers],
        [each.traceparent for each in timers],
    )


def delivery_of(row: Sequence[Any]) -> Delivery:
    """Read the columns that every query over deliveries begins with."""
    reply = decode_data(ReplyRequested.type, row[4], row[3].encode())
    if not isinstance(reply, ReplyRequested):
        raise InvariantViolated(f"delivery {row[0]} was stored by a newer version: its reply is not readable")
    request = Envelope(
        id=row[0],
        source="/chatledger/dialog",
        conversation=row[1],
        time=row[5].astimezone(UTC),
        stream=f"conversation-{row[1]}",
        stream_version=None,
        correlation_id=row[6],
        causation_id=None,
        traceparent=row[7],
        data=reply,
    )
    return Delivery(request=request, reply=reply, partition=row[2], attempts=row[8])
