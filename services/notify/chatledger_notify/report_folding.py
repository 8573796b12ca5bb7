"""Folds reports into their deliveries' rows: those of the partitions that this worker sends for, batch by batch.

Whoever sends is the one who folds, so that a message that a report ended is not sent again from memory, and its events
go out in the order of their stream. Reports may be read by another worker; the table hands them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from chatledger.adapters.postgres import Connection, Pool
from chatledger.ports import Clock
from chatledger_notify.failpoint import AFTER_FOLD, Failpoint
from chatledger_notify.outbox import Outbox
from chatledger_notify.report_store import ReportStore
from chatledger_notify.reports import Folded, Report, fold
from chatledger_notify.sender import Sender

LOOK_EVERY_S = 1.0
"""How soon a report is folded that another worker has read."""
FOLD_EVERY_S = 0.02
"""The shortest time between two folds: under load it makes one transaction of many reports."""
FORGET_EVERY_S = 600.0

_log = structlog.get_logger()


class ReportFolding:
    """Sleeps until there are reports; `wake` says that there are."""

    def __init__(
        self,
        *,
        store: ReportStore,
        pool: Pool,
        sender: Sender,
        outbox: Outbox,
        clock: Clock,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._store, self._pool, self._sender, self._outbox = store, pool, sender, outbox
        self._clock, self._failpoint = clock, failpoint
        self._wake = asyncio.Event()
        self._stopping = False
        self.busy = False
        """Whether rows are being changed at this moment."""

    def wake(self) -> None:
        """Look at the table now."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Fold until `stop`. Raises psycopg.Error: end the process, the table keeps the rest."""
        now = asyncio.get_running_loop().time
        forgotten_at = now()
        while not self._stopping:
            self._wake.clear()
            if await self._fold_some():
                await asyncio.sleep(FOLD_EVERY_S)
                continue
            if now() - forgotten_at > FORGET_EVERY_S:
                await self.forget_old()
                forgotten_at = now()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def forget_old(self) -> None:
        """Forget reports of messages that were never known, and when clients wrote who are long silent."""
        await self._store.forget_old(self._clock.now())

    async def _fold_some(self) -> int:
        if not self._sender.queues.owned:
            return 0
        # The gate: no message of these rows is loaded meanwhile. Alone: no result of theirs is recorded.
        async with self._sender.gate(), self._outbox.alone(), self._pool.connection() as connection:
            self.busy = True
            try:
                async with connection.transaction():
                    count, folded = await self._fold(connection, sorted(self._sender.queues.owned))
                if folded and self._failpoint is not None:
                    self._failpoint.reached(AFTER_FOLD)
                self._hand_on(folded)
            finally:
                self.busy = False
        return count

    async def _fold(self, connection: Connection, partitions: Sequence[int]) -> tuple[int, list[Folded]]:
        claimed = await self._store.claim_reports(connection, partitions)
        if not claimed:
            return 0, []
        found = await self._find(connection, [report for _, report in claimed])
        of_delivery: dict[str, list[Report]] = {}
        for (_, report), delivery_id in zip(claimed, found, strict=True):
            if delivery_id is not None:
                of_delivery.setdefault(delivery_id, []).append(report)
        standings = await self._store.lock_standings(connection, list(of_delivery)) if of_delivery else {}
        folded = [fold(standing, of_delivery[delivery_id]) for delivery_id, standing in standings.items()]
        if folded:
            await self._store.save_folded(connection, folded)
        done = [number for (number, _), delivery_id in zip(claimed, found, strict=True) if delivery_id in standings]
        unknown = sorted({number for number, _ in claimed} - set(done))
        await self._store.finish_reports(connection, done, unknown)
        if unknown:
            _log.info("reports.wait_for_their_message", count=len(unknown))
        return len(claimed), folded

    async def _find(self, connection: Connection, reports: Sequence[Report]) -> list[str | None]:
        """The delivery of each report: the one it names, or the one that the provider knows by its id."""
        unnamed = [report for report in reports if report.delivery_id is None]
        sent = await self._store.find_sent(connection, unnamed) if unnamed else {}
        return [
            report.delivery_id or sent.get((report.project, report.channel, report.provider_message_id))
            for report in reports
        ]

    def _hand_on(self, folded: Sequence[Folded]) -> None:
        """Tell the sender and the outbox what the table has now."""
        for each in folded:
            if each.ended is not None:
                self._sender.ended_by_report(each.ended.delivery)
                self._outbox.republish([each.ended])
            self._outbox.republish(each.rises)
        if folded:
            rises = sum(len(each.rises) for each in folded)
            ended = sum(each.ended is not None for each in folded)
            _log.info("reports.folded", deliveries=len(folded), rises=rises, ended=ended)
