"""The rows of providers' reports in the schema `notify`: each function is a statement of sql/queries.sql, for a batch.

All belong to the caller's transaction, but for those that say that they use the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chatledger.adapters.postgres import Connection, Pool
from chatledger_notify.reports import Folded, Report, Standing, StatusRise
from chatledger_notify.sql import named_queries
from chatledger_notify.store import delivery_of

REPORTS_AT_ONCE = 500
REPORT_AGE_MAX = timedelta(days=1)
"""A report of a message that we do not know by then is not about one of ours."""
CLIENT_AGE_MAX = timedelta(days=3)
"""Longer than any provider's window: who has not written for so long need not be known."""

_QUERIES = named_queries()


class ReportStore:
    """Reports that came in, the rows that they move, and what is to be told of it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def save_reports(self, connection: Connection, reports: Sequence[Report]) -> None:
        """Take reports in, for the worker that sends for their delivery's partition."""
        await connection.execute(_QUERIES["save_reports"], report_columns(reports))

    async def save_clients(self, connection: Connection, clients: Mapping[str, datetime]) -> None:
        """Note when clients last wrote, by conversation."""
        await save_clients(connection, clients)

    async def claim_reports(self, connection: Connection, partitions: Sequence[int]) -> list[tuple[int, Report]]:
        """Lock some reports that are to be folded, oldest first, each with its number."""
        rows = await connection.execute(_QUERIES["claim_reports"], (list(partitions), REPORTS_AT_ONCE))
        return [
            (
                row[0],
                Report(
                    id=row[1],
                    partition=row[2],
                    project=row[3],
                    channel=row[4],
                    delivery_id=row[5],
                    provider_message_id=row[6],
                    status=row[7],
                    error=row[8],
                    reported_at=row[9].astimezone(UTC),
                ),
            )
            for row in await rows.fetchall()
        ]

    async def find_sent(self, connection: Connection, reports: Sequence[Report]) -> dict[tuple[str, str, str], str]:
        """The deliveries that were sent as (project, channel, provider's message id)."""
        rows = await connection.execute(_QUERIES["find_sent"], ([each.provider_message_id for each in reports],))
        return {(row[0], row[1], row[2]): row[3] for row in await rows.fetchall()}

    async def lock_standings(self, connection: Connection, delivery_ids: Sequence[str]) -> dict[str, Standing]:
        """Lock some deliveries' rows and return them by id."""
        rows = await connection.execute(_QUERIES["lock_standings"], (sorted(set(delivery_ids)),))
        return {row[0]: _standing(row) for row in await rows.fetchall()}

    async def save_folded(self, connection: Connection, folded: Sequence[Folded]) -> None:
        """Write what reports made of the locked rows, and what is to be told of it."""
        standings = [each.standing for each in folded]
        columns = (
            [each.id for each in standings],
            [each.status for each in standings],
            [each.attempts for each in standings],
            [each.provider_message_id for each in standings],
            [each.ended_at for each in standings],
            [each.reported for each in standings],
            [each.version for each in standings],
            [each.ended.reason if each.ended else None for each in folded],
        )
        await connection.execute(_QUERIES["save_standings"], columns)
        rises = [rise for each in folded for rise in each.rises]
        if rises:
            await connection.execute(
                _QUERIES["save_rises"],
                (
                    [each.delivery_id for each in rises],
                    [each.version for each in rises],
                    [each.status for each in rises],
                    [each.report_id for each in rises],
                    [each.provider_message_id for each in rises],
                    [each.reason for each in rises],
                    [each.happened_at for each in rises],
                ),
            )

    async def finish_reports(self, connection: Connection, folded: Sequence[int], unknown: Sequence[int]) -> None:
        """Forget reports that were folded; those of unknown messages wait for theirs."""
        if folded:
            await connection.execute(_QUERIES["forget_reports"], (list(folded),))
        if unknown:
            await connection.execute(_QUERIES["let_reports_wait"], (list(unknown),))

    async def load_rises(self, partition: int) -> list[StatusRise]:
        """What of one partition the broker may not have been told, each delivery's in order. Uses the pool."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_QUERIES["load_rises"], (partition,))).fetchall()
        return [
            StatusRise(
                delivery_id=row[0],
                version=row[1],
                status=row[2],
                report_id=row[3],
                provider_message_id=row[4],
                reason=row[5],
                happened_at=row[6].astimezone(UTC),
                conversation=row[7],
                channel=row[8],
                regarding=row[9],
                correlation_id=row[10],
                traceparent=row[11],
            )
            for row in rows
        ]

    async def forget_rises(self, connection: Connection, rises: Sequence[StatusRise]) -> None:
        """The broker has been told these."""
        columns = ([each.delivery_id for each in rises], [each.version for each in rises])
        await connection.execute(_QUERIES["forget_rises"], columns)

    async def forget_old(self, now: datetime) -> None:
        """Forget reports of messages that were never known, and clients who are long silent. Uses the pool."""
        async with self._pool.connection() as connection:
            await connection.execute(_QUERIES["forget_old_reports"], (now - REPORT_AGE_MAX,))
            await connection.execute(_QUERIES["forget_old_clients"], (now - CLIENT_AGE_MAX,))


def report_columns(reports: Sequence[Report]) -> tuple[list[Any], ...]:
    """Return reports as the query `save_reports` takes them."""
    return (
        [each.id for each in reports],
        [each.partition for each in reports],
        [each.project for each in reports],
        [each.channel for each in reports],
        [each.delivery_id for each in reports],
        [each.provider_message_id for each in reports],
        [each.status for each in reports],
        [each.error for each in reports],
        [each.reported_at for each in reports],
    )


async def save_clients(connection: Connection, clients: Mapping[str, datetime]) -> None:
    """Note when clients last wrote, by conversation."""
    # In one order for all workers, so that two of them never wait for each other.
    ordered = sorted(clients)
    await connection.execute(_QUERIES["save_clients"], (ordered, [clients[each] for each in ordered]))


def _standing(row: Sequence[Any]) -> Standing:
    waiting = row[9] == "waiting"
    return Standing(
        id=row[0],
        conversation=row[1],
        correlation_id=row[6],
        traceparent=row[7],
        attempts=row[8],
        status=row[9],
        channel=row[10],
        regarding=row[11],
        provider_message_id=row[12],
        ended_at=row[13] and row[13].astimezone(UTC),
        reported=row[14],
        version=row[15],
        delivery=delivery_of(row) if waiting else None,
    )
