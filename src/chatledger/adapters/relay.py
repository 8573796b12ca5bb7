"""The relay of an outbox in Postgres: publishes what was committed and is not marked as published, over and over.

Publish, then mark: what was published but not marked is published again, with the same ids. One relay works at a time,
whoever holds an advisory lock, and it marks on the connection that holds it. An outbox is read by rows that are not
marked, not by a position, because transactions do not commit in the order of positions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from psycopg import AsyncConnection, OperationalError

from chatledger.adapters.postgres import KEEPALIVES, Connection
from chatledger.errors import BrokerUnavailable, OutsideUnavailable, ProducerBroken

BATCH_EVENTS_MAX = 500
POLL_S = 0.25
"""How soon an event that another process decided is seen; this process's own wake the relay."""
TAKE_OVER_S = 1.0
"""How often a relay that waits tries to become the one."""
RETRY_PAUSE_S = 1.0
"""After the broker did not acknowledge."""

_log = structlog.get_logger()

Step = Callable[[Connection], Awaitable[int]]
"""Publishes the oldest unmarked events, at most BATCH_EVENTS_MAX, marks them, and returns how many there were."""


class OutboxRelay:
    """Steps through an outbox until closed. `name` is that of the advisory lock: one for each outbox."""

    def __init__(self, step: Step, *, name: str) -> None:
        self.step = step
        self._name = name
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
            async with await AsyncConnection.connect(url, autocommit=True, options=KEEPALIVES) as connection:
                while not await self._locked(connection):
                    if self._closing:
                        return
                    await self._rest(TAKE_OVER_S)
                await self._follow(connection)
        except OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer the relay: {wrong}") from wrong

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
        rows = await connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (self._name,))
        row = await rows.fetchone()
        return bool(row and row[0])

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()
