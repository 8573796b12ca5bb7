"""The port LedgerReader on Postgres: history in the order of positions, a few thousand rows at a time.

Reading ends at the last event that was there when it began, so a replay beside a running recorder ends too. It holds
no transaction between two reads: rows never change, so nothing can shift under it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import RecordedRow, record_of_row
from chatledger.adapters.postgres import Pool
from chatledger.adapters.sql_files import named_statements
from chatledger.ports import EVERYTHING, LedgerEvent, Selection

ROLE = "chatledger_reader"
"""What a reader's pool runs as: it may only read."""
POSITIONS_PER_READ = 5_000
"""About 5 MB of events; longer stretches are not faster."""
CONVERSATIONS_MAX = 100_000
"""As many ids are looked at to suggest one that is alike."""

_QUERIES = named_statements("chatledger.adapters", "ledger_reader.sql")


class PostgresLedgerReader:
    """The port LedgerReader over a pool; any role that may read `ledger.events` does."""

    def __init__(self, pool: Pool, *, positions_per_read: int = POSITIONS_PER_READ) -> None:
        self._pool = pool
        self._positions_per_read = positions_per_read

    async def read(self, selection: Selection = EVERYTHING) -> AsyncIterator[LedgerEvent]:
        """Yield the recorded events that are selected, in the order of positions, lifted to today's classes."""
        async for kept in self.records(selection):
            yield ledger_event(kept.record, position=kept.position, recorded_at=kept.recorded_at)

    async def records(self, selection: Selection = EVERYTHING) -> AsyncIterator[RecordedRow]:
        """Yield the selected rows as they were recorded: no event is decoded, none lifted."""
        last = await self.last_position()
        after = selection.after
        until = last if selection.until_position is None else min(last, selection.until_position)
        query = _QUERIES["read" if selection.stream is None else "read_stream"]
        while after < until:
            stretch_end = until if selection.stream is not None else min(until, after + self._positions_per_read)
            bounds = {**_filters(selection), "after": after, "until_position": stretch_end}
            async with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
                await cursor.execute(query, bounds)
                rows = await cursor.fetchall()
            for row in rows:
                yield record_of_row(row)
            after = stretch_end

    async def newest(self, type_name: str, limit: int) -> list[LedgerEvent]:
        """The newest events of one type, in the order of positions. It walks history back until it has `limit`."""
        return (await self._events("newest", {"type": type_name, "limit": limit}))[::-1]

    async def find(self, event_id: str) -> LedgerEvent | None:
        """The event with this id, a UUID in its usual form, or None."""
        return next(iter(await self._events("find", {"id": event_id})), None)

    async def last_position(self) -> int:
        """The position of the newest event; 0 where there is none."""
        return await self._number("last_position", {})

    async def count(self, selection: Selection = EVERYTHING) -> int:
        """How many events `read` will yield."""
        last = await self.last_position() if selection.until_position is None else selection.until_position
        bounds = {**_filters(selection), "after": selection.after, "until_position": last}
        return await self._number("count", bounds)

    async def conversations(self, *, limit: int = CONVERSATIONS_MAX) -> list[str]:
        """The ids of all conversations, sorted, up to `limit`."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(_QUERIES["conversations"], {"limit": limit})
            return [found for (found,) in await rows.fetchall()]

    async def _events(self, query: str, parameters: dict[str, object]) -> list[LedgerEvent]:
        async with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(_QUERIES[query], parameters)
            return [
                ledger_event(kept.record, position=kept.position, recorded_at=kept.recorded_at)
                for kept in map(record_of_row, await cursor.fetchall())
            ]

    async def _number(self, query: str, parameters: dict[str, object]) -> int:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_QUERIES[query], parameters)).fetchone()
        assert row is not None
        return int(row[0])


def _filters(selection: Selection) -> dict[str, object]:
    return {
        "since_time": selection.since_time,
        "until_time": selection.until_time,
        "stream": selection.stream,
        "types": list(selection.types) or None,
        "project": selection.project,
    }
