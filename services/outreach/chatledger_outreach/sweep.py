"""The sweep: on start and every so often, what the rows say is due and nobody has done is given a job at once.

It is what makes jobs mere wake-ups: one that was lost, or that came too early, is made up for here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import structlog

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import OutsideUnavailable
from chatledger.ports import Clock
from chatledger_outreach.jobs import Jobs

EVERY_S = 30.0
GRACE = timedelta(seconds=10)
"""What has been due for less than this is left to the job that was deferred for it."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """Something that is due: the task that does it, and the task's arguments. `lock` is its name among all others."""

    task: str
    lock: str
    arguments: Mapping[str, str | int]


Source = Callable[[Connection, datetime], Awaitable[Sequence[Overdue]]]
"""Reads from the rows what was due at a time; a bounded number is enough, the next sweep finds the rest."""


class Sweep:
    """Asks every source what is overdue, and defers a job for each."""

    def __init__(self, *, pool: Pool, jobs: Jobs, clock: Clock, sources: Sequence[Source]) -> None:
        self._pool, self._jobs, self._clock, self._sources = pool, jobs, clock, sources
        self._awake = asyncio.Event()
        self._closing = False

    def wake(self) -> None:
        """Sweep now."""
        self._awake.set()

    def close(self) -> None:
        """End `run`."""
        self._closing = True
        self._awake.set()

    async def once(self, grace: timedelta = GRACE) -> int:
        """Defer what has been due for longer than `grace`; return how many jobs are new."""
        async with self._pool.connection() as connection:
            due_at = self._clock.now() - grace
            found = [overdue for source in self._sources for overdue in await source(connection, due_at)]
            new = 0
            for each in found:
                new += await self._jobs.defer(connection, each.task, None, f"swept {each.lock}", **each.arguments)
        return new

    async def run(self) -> None:
        """Sweep until closed. Raises OutsideUnavailable when Postgres goes away."""
        grace = timedelta()  # on start nobody else is at it
        try:
            while not self._closing:
                stalled, new = await self._jobs.forget_stalled(), await self.once(grace)
                grace = GRACE
                if stalled or new:
                    _log.info("jobs.swept", stalled=stalled, deferred=new)
                await self._rest()
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer the sweep: {wrong}") from wrong

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(EVERY_S):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()
