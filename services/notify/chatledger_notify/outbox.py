"""From a try's result to its event: the row first, many in one statement, then the broker, then the mark.

A process that ends between these steps leaves a row that says what is still to publish; it is published again with
the same id, time and content by whoever owns the partition next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from chatledger.adapters.postgres import Pool
from chatledger.errors import InvariantViolated, OutsideUnavailable, ProducerBroken
from chatledger.ports import Publisher
from chatledger.topics import NOTIFY
from chatledger_notify.deliveries import Result, outcome_event
from chatledger_notify.store import NotifyStore

FLUSH_EVERY_S = 0.01
"""The shortest time from one flush to the next: under load it makes one transaction of many results."""
MARK_EVERY_S = 0.25
"""Marks are only there to spare a restart some publishing, so they may be late."""
RETRY_PAUSE_S = 1.0
PUBLISH_AT_ONCE = 500

_log = structlog.get_logger()


class Outbox:
    """Commits results, publishes outcomes. `settled` is called with each result that the table has."""

    def __init__(
        self, *, store: NotifyStore, pool: Pool, publisher: Publisher, settled: Callable[[Result], None]
    ) -> None:
        self._store, self._pool, self._publisher, self._settled = store, pool, publisher, settled
        self._results: list[Result] = []
        self._unpublished: list[Result] = []
        self._unmarked: list[str] = []
        self._has_results, self._has_unpublished = asyncio.Event(), asyncio.Event()
        self._stopping = asyncio.Event()

    def record(self, result: Result) -> None:
        """Take what came of a try."""
        self._results.append(result)
        self._has_results.set()

    def republish(self, results: Sequence[Result]) -> None:
        """Take outcomes that the table has, but the broker may not."""
        self._unpublished.extend(results)
        self._has_unpublished.set()

    def stop(self) -> None:
        """Let `run` finish what was recorded, and end."""
        self._stopping.set()
        self._has_results.set()
        self._has_unpublished.set()

    async def run(self) -> None:
        """Commit, publish and mark until `stop`.

        Raises psycopg.Error, ProducerBroken: end the process, the table tells the rest.
        """
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(self._commit())
            group.create_task(self._publish(committing))

    async def _commit(self) -> None:
        async with self._pool.connection() as connection:
            await connection.set_autocommit(True)
            while True:
                await self._has_results.wait()
                self._has_results.clear()
                results, self._results = self._results, []
                if results:
                    recorded = await self._store.record_results(connection, results)
                    self._after_commit(results, recorded)
                elif self._stopping.is_set():
                    break
                if self._stopping.is_set():
                    self._has_results.set()
                else:
                    await asyncio.sleep(FLUSH_EVERY_S)
            await connection.set_autocommit(False)

    def _after_commit(self, results: Sequence[Result], recorded: set[str]) -> None:
        if len(recorded) < len(results):
            lost = next(result.delivery.id for result in results if result.delivery.id not in recorded)
            raise InvariantViolated(f"delivery {lost} had ended already: somebody else sends for the same partition")
        ended = [result for result in results if result.ended]
        for result in results:
            self._settled(result)
        if ended:
            self.republish(ended)

    async def _publish(self, committing: asyncio.Task[None]) -> None:
        marked_at = 0.0
        now = asyncio.get_running_loop().time
        while not (committing.done() and not self._unpublished):
            await self._wait_for_unpublished()
            batch = self._unpublished[:PUBLISH_AT_ONCE]
            if batch and not await self._published(batch) and committing.done():
                break
            if now() - marked_at >= MARK_EVERY_S:
                await self._mark()
                marked_at = now()
        await self._mark()

    async def _wait_for_unpublished(self) -> None:
        if not self._unpublished:
            self._has_unpublished.clear()
            try:
                async with asyncio.timeout(MARK_EVERY_S):
                    await self._has_unpublished.wait()
            except TimeoutError:
                return

    async def _published(self, batch: Sequence[Result]) -> bool:
        try:
            await self._publisher.publish(NOTIFY, [outcome_event(result) for result in batch])
        except ProducerBroken:
            raise
        except OutsideUnavailable as wrong:
            _log.warning("outcomes.not_published", count=len(self._unpublished), reason=str(wrong))
            await asyncio.sleep(RETRY_PAUSE_S)
            return False
        del self._unpublished[: len(batch)]
        self._unmarked.extend(result.delivery.id for result in batch)
        return True

    async def _mark(self) -> None:
        if self._unmarked:
            ids, self._unmarked = self._unmarked, []
            async with self._pool.connection() as connection:
                await self._store.mark_published(connection, ids)
