"""Shows how the breakers stand in a table, for whoever asks after the system's health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from chatledger.adapters.breakers import Breaker, BreakerState, new_breaker
from chatledger.adapters.postgres import Pool
from chatledger.ports import Clock
from chatledger_notify.deliveries import Account
from chatledger_notify.schedule import SendingLimits
from chatledger_notify.sql import named_queries

SHOW_EVERY_S = 5.0
CHANGES_EVERY_S = 0.25
"""The shortest time between two writes: 64 calls that fail at once are one change."""
STALE_AFTER = timedelta(seconds=4 * SHOW_EVERY_S)
"""A worker that has shown nothing for so long is not there any more."""
FORGET_AFTER = timedelta(hours=1)

_QUERIES = named_queries()
_log = structlog.get_logger()


class BreakerBoard:
    """One breaker per account, named `project/channel`; `changed` is called at every change."""

    def __init__(self, *, pool: Pool, clock: Clock, worker: str) -> None:
        self._pool, self._clock, self._worker = pool, clock, worker
        self.breakers: dict[Account, Breaker] = {}
        self.changed: Callable[[], None] = lambda: None
        self._states: dict[str, tuple[BreakerState, datetime]] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    def add(self, account: Account, limits: SendingLimits, monotonic: Callable[[], float]) -> None:
        """Make the breaker of an account."""
        name = "/".join(account)
        breaker = new_breaker(
            name,
            failures_max=limits.breaker_failures,
            pause_s=limits.breaker_pause_s,
            changed=self._changed,
            monotonic=monotonic,
        )
        self.breakers[account] = breaker
        self._states[name] = (breaker.state, self._clock.now())

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Keep the table up to date until `stop`. Raises psycopg.Error: end the process."""
        while not self._stopping:
            self._wake.clear()
            await self._show()
            await asyncio.sleep(CHANGES_EVERY_S)
            try:
                async with asyncio.timeout(SHOW_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _changed(self, breaker: Breaker) -> None:
        before, _ = self._states[breaker.name]
        if breaker.state != before:
            self._states[breaker.name] = (breaker.state, self._clock.now())
            level = 20 if breaker.state == "closed" else 30
            _log.log(level, f"breaker.{breaker.state}", name=breaker.name, failures=breaker.failures)
        self._wake.set()
        self.changed()

    async def _show(self) -> None:
        now, breakers = self._clock.now(), list(self.breakers.values())
        arguments = {
            "names": [each.name for each in breakers],
            "states": [each.state for each in breakers],
            "failures": [each.failures for each in breakers],
            "changed": [self._states[each.name][1] for each in breakers],
            "now": now,
            "stale": now - STALE_AFTER,
            "worker": self._worker,
        }
        async with self._pool.connection() as connection:
            await connection.execute(_QUERIES["show_breakers"], arguments)
            await connection.execute(_QUERIES["forget_breakers"], (now - FORGET_AFTER,))
