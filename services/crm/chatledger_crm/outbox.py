"""The outbox: the service's events in streams, kept in Postgres, and the relay that publishes them from there.

Publish, then mark: what was published but not marked is published again, with the same ids. One relay works at a time,
whoever holds an advisory lock. It looks for rows that are not marked, rather than for rows after a position, because
transactions do not commit in the order of positions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import structlog
from psycopg import AsyncConnection, OperationalError

from chatledger.adapters.postgres import Connection
from chatledger.errors import BrokerUnavailable, OutsideUnavailable, ProducerBroken
from chatledger.events.codec import decode_data, encode_data, type_and_version
from chatledger.events.envelope import Envelope
from chatledger.ports import Clock, Publisher
from chatledger.topics import INVENTORY
from chatledger_crm.sql import query

SOURCE = "/chatledger/crm"
BATCH_EVENTS_MAX = 500
POLL_S = 0.5
"""How soon something is seen that another process decided; this process's own wakes the relay."""
RETRY_PAUSE_S = 1.0
"""After the broker did not acknowledge, and between two tries to become the relay."""

_KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""A machine that vanished loses its lock within half a minute, not after hours."""

_log = structlog.get_logger()


async def append(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    """Append events to their streams and to the outbox, within the caller's transaction."""
    if envelopes:
        await connection.execute(query("append_events"), _columns(envelopes))


async def last_version(connection: Connection, stream: str) -> int:
    """How many events a stream has."""
    row = await (await connection.execute(query("last_version"), (stream,))).fetchone()
    assert row is not None
    return int(row[0])


class Relay:
    """Publishes what is not marked as published."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher, self._clock = publisher, clock
        self._awake = asyncio.Event()
        self._closing = False

    def wake(self) -> None:
        """Say that something was committed."""
        self._awake.set()

    def close(self) -> None:
        """End `run` once everything that was committed by now is published, or the broker is away."""
        self._closing = True
        self._awake.set()

    async def run(self, url: str) -> None:
        """Relay until closed; while the broker is away, wait for it.

        Raises OutsideUnavailable when Postgres goes away, ProducerBroken when the publisher does: end the process.
        """
        try:
            async with await AsyncConnection.connect(url, autocommit=True, options=_KEEPALIVES) as connection:
                while not await self._locked(connection):
                    if self._closing:
                        return
                    await self._rest(RETRY_PAUSE_S)
                await self._follow(connection)
        except OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer the relay: {wrong}") from wrong

    async def step(self, connection: Connection) -> int:
        """Publish the oldest unpublished events, wait for the acknowledgements, mark. Return how many there were."""
        rows = await (await connection.execute(query("unpublished_events"), (BATCH_EVENTS_MAX,))).fetchall()
        if rows:
            await self._publisher.publish(INVENTORY, [_envelope(row) for row in rows])
            await connection.execute(query("mark_published"), (self._clock.now(), [row[11] for row in rows]))
        return len(rows)

    async def _follow(self, connection: Connection) -> None:
        while True:
            last = self._closing
            try:
                published = await self.step(connection)
            except ProducerBroken:
                raise
            except BrokerUnavailable as wrong:
                _log.warning("events.not_published", reason=str(wrong))
                if last:
                    return
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            if published < BATCH_EVENTS_MAX:
                if last:
                    return
                await self._rest(POLL_S)

    async def _locked(self, connection: Connection) -> bool:
        row = await (await connection.execute(query("lock_relay"))).fetchone()
        return bool(row and row[0])

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()


def _envelope(row: Sequence[Any]) -> Envelope:
    return Envelope(
        id=row[0],
        source=SOURCE,
        conversation=row[1],
        stream=row[2],
        stream_version=row[3],
        data=decode_data(row[4], row[5], row[10].encode()),
        time=row[6].astimezone(UTC),
        correlation_id=row[7],
        causation_id=row[8],
        traceparent=row[9],
    )


def _columns(envelopes: Sequence[Envelope]) -> tuple[list[Any], ...]:
    kinds = [type_and_version(each.data) for each in envelopes]
    return (
        [each.id for each in envelopes],
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
