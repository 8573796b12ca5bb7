"""The relay: publishes the notification log on chat.billing, and lays it down in the read model.

Publish, then save the position: what was published but not saved is published again, with the same ids. One relay
works at a time, whoever holds an advisory lock; the rows and the position are written on the connection that holds
it, so that a relay that lost its lock cannot write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from chatledger import topics
from chatledger.errors import BrokerUnavailable, OutsideUnavailable, ProducerBroken
from chatledger.events.envelope import Envelope
from chatledger.ports import Publisher
from chatledger_billing.decisions import to_envelope
from chatledger_billing.invoices import NumbersGiven
from chatledger_billing.projection import Changes, Row, project
from chatledger_billing.sql import query
from chatledger_billing.store import BillingStore
from chatledger_billing.worker import Worker

BATCH_EVENTS_MAX = 500
POLL_S = 0.5
"""How soon an event that another process recorded is seen; this process's own wake the relay."""
TAKE_OVER_S = 1.0
"""How often a relay that waits tries to become the one."""
RETRY_PAUSE_S = 1.0
"""After the broker did not acknowledge."""

_KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""A machine that vanished loses its lock within half a minute, not after hours."""

_log = structlog.get_logger()


class ReadModelWriter:
    """Writes the read model and the relay's position, on one connection that holds the relay's lock."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        """`connection` is in autocommit mode."""
        self._connection = connection

    async def lock(self) -> bool:
        """Try to become the only relay; the lock lives as long as the connection."""
        return bool(await self._value("lock_relay"))

    async def position(self) -> int:
        """Return how far the log was published."""
        position: int | None = await self._value("read_relay_position")
        return position or 0

    async def save(self, changes: Changes, position: int) -> None:
        """Write the rows and the position in one transaction."""
        async with self._connection.pipeline(), self._connection.transaction():
            for name, rows in (
                ("add_orders", changes.orders),
                ("move_orders", list(changes.moves.values())),
                ("add_invoices", changes.invoices),
            ):
                if rows:
                    await self._connection.execute(query(name), (_jsonb(rows),))
            await self._connection.execute(query("save_relay_position"), (position,))

    async def _value(self, name: str) -> Any:
        row = await (await self._connection.execute(query(name))).fetchone()
        return row[0] if row else None


class Relay:
    """Follows the notification log from where the last relay stopped."""

    def __init__(self, *, store: BillingStore, worker: Worker, publisher: Publisher) -> None:
        self._store, self._worker, self._publisher = store, worker, publisher
        self._awake = asyncio.Event()
        self._closing = False

    def wake(self) -> None:
        """Say that something was recorded."""
        self._awake.set()

    def close(self) -> None:
        """End `run` after the step in hand."""
        self._closing = True
        self._awake.set()

    async def run(self, url: str) -> None:
        """Relay until closed; while the broker is away, wait for it.

        Raises OutsideUnavailable when Postgres goes away, ProducerBroken when the publisher does: end the process.
        """
        try:
            connection = await AsyncConnection.connect(url, autocommit=True, options=_KEEPALIVES)
            async with connection:
                writer = ReadModelWriter(connection)
                while not self._closing and not await writer.lock():
                    await self._rest(TAKE_OVER_S)
                position = await writer.position()
                while not self._closing:
                    try:
                        reached = await self.step(writer, position)
                    except ProducerBroken:
                        raise
                    except BrokerUnavailable as wrong:
                        _log.warning("events.not_published", after=position, reason=str(wrong))
                        await asyncio.sleep(RETRY_PAUSE_S)
                        continue
                    if reached - position < BATCH_EVENTS_MAX:
                        await self._rest(POLL_S)
                    position = reached
        except OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer the relay: {wrong}") from wrong

    async def step(self, writer: ReadModelWriter, position: int) -> int:
        """Publish what follows `position`, wait for the acknowledgements, save. Return the new position."""
        decisions = await self._worker.run(self._store.follow, position, BATCH_EVENTS_MAX)
        if not decisions:
            return position
        events: Sequence[tuple[int, Envelope]] = [
            (place, to_envelope(decision))
            for place, decision in decisions
            if not isinstance(decision.event, NumbersGiven)
        ]
        await self._publisher.publish(topics.BILLING, [envelope for _, envelope in events])
        reached = decisions[-1][0]
        await writer.save(project(events), reached)
        return reached

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()


def _jsonb(rows: list[Row]) -> Jsonb:
    return Jsonb(rows, dumps=orjson.dumps)
