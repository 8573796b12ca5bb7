"""Reads what the HTTP API shows: the read model's tables, and an aggregate's own events for its history.

It needs a database URL and no more, and its connections are read-only.
"""

from __future__ import annotations

from datetime import date
from typing import Any, cast

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from chatledger.adapters.postgres import Pool, open_pool
from chatledger.errors import OutsideUnavailable
from chatledger_billing.decisions import Decision
from chatledger_billing.sql import query
from chatledger_billing.store import decision_mapper

Row = dict[str, Any]
CONNECTIONS_MAX = 4
OPTIONS = "-c default_transaction_read_only=on -c plan_cache_mode=force_custom_plan"
"""A plan for any filter would walk a whole table to find the two orders of one client."""


class ReadModel:
    """Orders and invoices as the relay laid them down; `open` before use, `close` after."""

    def __init__(self, url: str) -> None:
        options = str(conninfo_to_dict(url).get("options") or "")
        self._url = make_conninfo(url, options=f"{options} {OPTIONS}".strip())
        self._pool: Pool | None = None
        self._mapper = decision_mapper()

    async def open(self) -> None:
        """Connect. Raises OutsideUnavailable."""
        self._pool = await open_pool(self._url, connections_max=CONNECTIONS_MAX)

    async def close(self) -> None:
        """Disconnect."""
        if self._pool is not None:
            await self._pool.close()

    async def __aenter__(self) -> ReadModel:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def find_orders(self, id: str, project: str | None) -> list[Row]:
        """Return the order with this id, or up to two that have it as their number. Raises OutsideUnavailable."""
        return await self._rows("find_orders", {"id": id, "project": project})

    async def list_orders(
        self, *, project: str | None, status: str | None, before: int | None, limit: int, client: str | None = None
    ) -> list[Row]:
        """Return orders, newest first, that stand before a position. Raises OutsideUnavailable."""
        wanted = {"project": project, "status": status, "client": client, "before": before, "limit": limit}
        return await self._rows("list_orders", wanted)

    async def find_invoices(self, id: str, project: str | None) -> list[Row]:
        """Return the invoice with this id, or up to two that have it as their number. Raises OutsideUnavailable."""
        return await self._rows("find_invoices", {"id": id, "project": project})

    async def list_invoices(
        self,
        *,
        project: str | None,
        status: str | None,
        overdue_before: date | None,
        client: str | None,
        before: int | None,
        limit: int,
    ) -> list[Row]:
        """Return invoices, newest first, that stand before a position. Raises OutsideUnavailable.

        With `overdue_before`, only those that are not paid and were due before that day.
        """
        wanted = {"project": project, "status": status, "overdue_before": overdue_before, "client": client}
        return await self._rows("list_invoices", {**wanted, "before": before, "limit": limit})

    async def history(self, stream: str, version: int) -> list[Decision]:
        """Return an aggregate's events, as far as the version that its row has. Raises OutsideUnavailable."""
        rows = await self._rows("read_history", {"stream": stream, "version": version})
        return [
            cast(
                "Decision",
                self._mapper.to_domain_event(
                    StoredEvent(
                        originator_id=stream,
                        originator_version=row["originator_version"],
                        topic=row["topic"],
                        state=bytes(row["state"]),
                    )
                ),
            )
            for row in rows
        ]

    async def _rows(self, name: str, parameters: Any) -> list[Row]:
        if self._pool is None:
            raise OutsideUnavailable("the read model is not open")
        try:
            async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(query(name), parameters)
                return await cursor.fetchall()
        except (errors.UndefinedTable, errors.InvalidSchemaName) as wrong:
            raise OutsideUnavailable("billing has not set up its tables yet") from wrong
        except (psycopg.OperationalError, PoolTimeout) as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
