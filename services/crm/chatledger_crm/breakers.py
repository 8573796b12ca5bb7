"""Shows breakers in the table crm.breakers, so that whoever asks for the system's health sees them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chatledger.adapters.breakers import Breaker
from chatledger.adapters.postgres import Pool
from chatledger.ports import Clock
from chatledger_crm.sql import query

SHOW_EVERY_S = 5.0
"""How old a row is at most while the service runs."""


class BreakerBoard:
    """Writes what each breaker says of itself, at once when it changes and every few seconds anyway."""

    def __init__(self, *, pool: Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock
        self._changed = asyncio.Event()

    def changed(self, breaker: Breaker) -> None:
        """Say that a breaker changed."""
        self._changed.set()

    async def run(self, breakers: Sequence[Breaker]) -> None:
        """Show them until cancelled. Raises psycopg.Error: end the process."""
        while True:
            self._changed.clear()
            await self.show(breakers)
            try:
                async with asyncio.timeout(SHOW_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def show(self, breakers: Sequence[Breaker]) -> None:
        """Write what they say now."""
        async with self._pool.connection() as connection:
            for each in breakers:
                said = {"name": each.name, "state": each.state, "failures": each.failures, "now": self._clock.now()}
                await connection.execute(query("save_breaker"), said)
