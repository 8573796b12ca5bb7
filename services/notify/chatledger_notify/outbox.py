"""From a try's result, or a status that rose, to its event: the row first, then the broker, then the mark.

A process that ends between these steps leaves a row that says what is still to publish; it is published again with
the same id, time and content by whoever owns the partition next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from chatledger.adapters.postgres import Pool
from chatledger.errors import InvariantViolated, OutsideUnavailable, ProducerBroken
from chatledger.events.envelope import Envelope
from chatledger.ports import Publisher
from chatledger.topics import NOTIFY
from chatledger_notify.deliveries import Result, outcome_event
from chatledger_notify.report_store import ReportStore
from chatledger_notify.reports import StatusRise, status_event
from chatledger_notify.store import NotifyStore

FLUSH_EVERY_S = 0.01
"""The shortest time from one flush to the next: under load it makes one transaction of many results."""
MARK_EVERY_S = 0.25
"""Marks are only there to spare a restart some publishing, so they may be late."""
RETRY_PAUSE_S = 1.0
PUBLISH_AT_ONCE = 500

Told = Result | StatusRise
"""What the table has and the broker may not: how a delivery ended, or how far its message has come since."""

_log = structlog.get_logger()


class Settling(Protocol):
    """Who sends, and waits for what it sent to be in the table."""

    def settled(self, result: Result) -> None:
        """The table has this result, or has had a later one."""
        ...

    def ended_meanwhile(self, delivery_id: str) -> bool:
        """Whether a report has ended a delivery that is being sent."""
        ...


class Outbox:
    """Commits results, publishes what was told.

    The sender is told of each result that the table has. Where the table does not take one, a report has ended the
    delivery while it was being sent, as the sender knows; otherwise only somebody else could have.
    """

    def __init__(
        self,
        *,
        store: NotifyStore,
        reports: ReportStore,
        pool: Pool,
        publisher: Publisher,
        sender: Settling,
    ) -> None:
        self._store, self._reports, self._pool, self._publisher = store, reports, pool, publisher
        self._sender = sender
        self._results: list[Result] = []
        self._unpublished: list[Told] = []
        self._unmarked: list[Told] = []
        self._has_results, self._has_unpublished = asyncio.Event(), asyncio.Event()
        self._recording, self._marking = asyncio.Lock(), asyncio.Lock()
        self._stopping = asyncio.Event()

    def record(self, result: Result) -> None:
        """Take what came of a try."""
        self._results.append(result)
        self._has_results.set()

    def republish(self, told: Sequence[Told]) -> None:
        """Take what the table has, but the broker may not, in the order of each delivery's stream."""
        self._unpublished.extend(told)
        self._has_unpublished.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep this outbox's hands off the deliveries' rows, for somebody who locks several of them."""
        async with self._recording, self._marking:
            yield

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
                    async with self._recording:
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
        for result in results if len(recorded) < len(results) else ():
            lost = result.delivery.id
            if lost not in recorded and not self._sender.ended_meanwhile(lost):
                raise InvariantViolated(f"delivery {lost} had ended already: somebody else sends for its partition")
        ended = [result for result in results if result.ended and result.delivery.id in recorded]
        for result in results:
            self._sender.settled(result)
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

    async def _published(self, batch: Sequence[Told]) -> bool:
        try:
            await self._publisher.publish(NOTIFY, [_event(told) for told in batch])
        except ProducerBroken:
            raise
        except OutsideUnavailable as wrong:
            _log.warning("outcomes.not_published", count=len(self._unpublished), reason=str(wrong))
            await asyncio.sleep(RETRY_PAUSE_S)
            return False
        del self._unpublished[: len(batch)]
        self._unmarked.extend(batch)
        return True

    async def _mark(self) -> None:
        if not self._unmarked:
            return
        marked, self._unmarked = self._unmarked, []
        ended = [told.delivery.id for told in marked if isinstance(told, Result)]
        rises = [told for told in marked if isinstance(told, StatusRise)]
        async with self._marking, self._pool.connection() as connection:
            if ended:
                await self._store.mark_published(connection, ended)
            if rises:
                await self._reports.forget_rises(connection, rises)


def _event(told: Told) -> Envelope:
    return outcome_event(told) if isinstance(told, Result) else status_event(told)
