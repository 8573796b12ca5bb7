"""What the ledger says to services that look for what it lacks of theirs, on one connection."""

from __future__ import annotations

from collections.abc import Sequence

from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import record_of_row
from chatledger.adapters.postgres import Connection
from chatledger.ports import LedgerEvent
from chatledger_ledger.queries import load_queries

_QUERIES = load_queries("restore.sql")


class LedgerHistory:
    """The port History of `chatledger.adapters.broker_loss`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """Return those of these event ids that are not recorded."""
        rows = await self._connection.execute(_QUERIES["ids_missing"], {"ids": list(ids)})
        return {found for (found,) in await rows.fetchall()}

    async def newest_of(self, streams: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return the version and the type of the last event of each stream that has any with a version."""
        rows = await self._connection.execute(_QUERIES["newest_of"], {"streams": list(streams)})
        return {stream: (version, type_name) for stream, version, type_name in await rows.fetchall()}

    async def reports_of(self, delivery_ids: Sequence[str], provider_ids: Sequence[str]) -> list[LedgerEvent]:
        """Return the `delivery.reported` of these messages, in the order of positions. It looks through all history."""
        return await self._events(
            "reports_of", {"delivery_ids": list(delivery_ids), "provider_ids": list(provider_ids)}
        )

    async def pending_timers(self) -> list[LedgerEvent]:
        """Return the last `timer.requested` of each conversation and kind. It looks through all history."""
        return await self._events("pending_timers", {})

    async def _events(self, query: str, parameters: dict[str, object]) -> list[LedgerEvent]:
        async with self._connection.cursor(binary=True) as cursor:
            await cursor.execute(_QUERIES[query], parameters)
            return [
                ledger_event(kept.record, position=kept.position, recorded_at=kept.recorded_at)
                for kept in map(record_of_row, await cursor.fetchall())
            ]
