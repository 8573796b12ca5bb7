"""Takes what concerns us of chat.inbound into the tables, with its positions in one transaction.

Its batches are large and few: a report may come some moments late, and reading past everybody else's records shall cost
next to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from chatledger.adapters.postgres import Connection, PostgresPositions
from chatledger.metrics import DUPLICATES, HANDLED
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger_notify.handlers import SERVICE
from chatledger_notify.inbound import read_news
from chatledger_notify.report_folding import ReportFolding
from chatledger_notify.report_store import ReportStore


class ReportIntake:
    """The effect of a batch: rows for reports and for clients who wrote."""

    def __init__(
        self,
        *,
        store: ReportStore,
        positions: PostgresPositions,
        windowed: Collection[bytes],
        folding: ReportFolding,
    ) -> None:
        """`windowed`: the channels that ask when a client last wrote."""
        self._store, self._positions, self._windowed, self._folding = store, positions, windowed, folding

    async def handle(self, connection: Connection, batch: Sequence[ConsumedRecord]) -> None:
        """Commit a batch, then let its reports be folded. Raises psycopg.Error: end the process."""
        async with connection.transaction():
            moved = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in batch}
            locked = await self._positions.lock(connection, sorted(moved))
            fresh = [r for r in batch if r.offset >= locked[TopicPartition(r.topic, r.partition)]]
            news = read_news(fresh, self._windowed)
            if news.clients:
                await self._store.save_clients(connection, news.clients)
            if news.reports:
                # The row that a report names is there: its message was taken in before it was sent.
                await self._store.save_reports(connection, list(news.reports.values()))
            await self._positions.save(connection, {at: max(moved[at], locked[at]) for at in moved})
        if news.reports:
            self._folding.wake()
        HANDLED.labels(SERVICE).inc(len(news.reports))
        DUPLICATES.labels(SERVICE).inc(len(batch) - len(fresh))
