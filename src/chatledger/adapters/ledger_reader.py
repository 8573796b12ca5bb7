"""The port LedgerReader on Postgres: history in the order of positions, a few thousand rows at a time.

Reading ends at the last event that was there when it began, so a replay beside a running recorder ends too. It holds
no transaction between two reads: rows never change, so nothing can shift under it. While the rows of one stretch are
worked on, Postgres prepares those of the next four, on connections of the pool where it has them.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from psycopg.pq import TransactionStatus

from chatledger.adapters.ledger_rows import RecordedRow, event_of_row, record_of_row
from chatledger.adapters.postgres import Connection, Pool
from chatledger.adapters.sql_files import named_statements
from chatledger.ports import EVERYTHING, LedgerEvent, Selection

ROLE = "chatledger_reader"
"""What a reader's pool runs as: it may only read."""
POSITIONS_PER_READ = 250
"""About 200 kB of events, which stay in the processor's cache: with 1,000 an event took a fifth longer to read."""
STRETCHES_AHEAD = 4
"""Postgres works on so many while one is read: they keep it busy, and few rows wait in memory."""
STRETCH_GROWTH_MAX = 128
"""A stretch in which little is selected may be so many times longer."""
POSITION_MAX = 2**63 - 1
CONVERSATIONS_MAX = 100_000
"""As many ids are looked at to suggest one that is alike."""

_Row = tuple[Any, ...]
_QUERIES = named_statements("chatledger.adapters", "ledger_reader.sql")


class PostgresLedgerReader:
    """The port LedgerReader over a pool; any role that may read `ledger.events` does."""

    def __init__(self, pool: Pool, *, positions_per_read: int = POSITIONS_PER_READ) -> None:
        self._pool = pool
        self._positions_per_read = positions_per_read

    async def read(self, selection: Selection = EVERYTHING) -> AsyncIterator[LedgerEvent]:
        """Yield the recorded events that are selected, in the order of positions, lifted to today's classes."""
        async with aclosing(self._stretches(selection)) as stretches:
            async for rows in stretches:
                for row in rows:
                    yield event_of_row(row)

    async def records(self, selection: Selection = EVERYTHING) -> AsyncGenerator[RecordedRow, None]:
        """Yield the selected rows as they were recorded: no event is decoded, none lifted."""
        async with aclosing(self._stretches(selection)) as stretches:
            async for rows in stretches:
                for row in rows:
                    yield record_of_row(row)

    async def _stretches(self, selection: Selection) -> AsyncGenerator[list[_Row], None]:
        """Yield what each stretch of positions holds of the selection, in order."""
        filters, after = filters_of(selection), selection.after
        if selection.stream is not None:
            until = POSITION_MAX if selection.until_position is None else selection.until_position
            yield await self._fetch("read_stream", {**filters, "after": after, "until_position": until})
            return
        last = await self.last_position()
        until = last if selection.until_position is None else min(last, selection.until_position)
        length = self._positions_per_read
        ahead: deque[asyncio.Task[list[_Row]]] = deque()
        try:
            while True:
                while after < until and len(ahead) < STRETCHES_AHEAD:
                    end = min(until, after + length)
                    bounds = {**filters, "after": after, "until_position": end}
                    ahead.append(asyncio.create_task(self._fetch("read", bounds)))
                    after = end
                if not ahead:
                    return
                rows = await ahead.popleft()
                yield rows
                # Where little is selected, longer stretches find as much in fewer reads.
                is_sparse = len(rows) < self._positions_per_read // 2
                longest, shortest = self._positions_per_read * STRETCH_GROWTH_MAX, self._positions_per_read
                length = min(2 * length, longest) if is_sparse else max(length // 2, shortest)
        finally:
            for fetching in ahead:
                fetching.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

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
        bounds = {**filters_of(selection), "after": selection.after, "until_position": last}
        return await self._number("count", bounds)

    async def conversations(self, *, limit: int = CONVERSATIONS_MAX) -> list[str]:
        """The ids of all conversations, sorted, up to `limit`."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(_QUERIES["conversations"], {"limit": limit})
            return [found for (found,) in await rows.fetchall()]

    async def _events(self, query: str, parameters: dict[str, object]) -> list[LedgerEvent]:
        return [event_of_row(row) for row in await self._fetch(query, parameters)]

    async def _fetch(self, query: str, parameters: dict[str, object]) -> list[_Row]:
        async with (
            self._pool.connection() as connection,
            _without_transactions(connection),
            connection.cursor(binary=True) as cursor,
        ):
            await cursor.execute(_QUERIES[query], parameters)
            return await cursor.fetchall()

    async def _number(self, query: str, parameters: dict[str, object]) -> int:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_QUERIES[query], parameters)).fetchone()
        assert row is not None
        return int(row[0])


@asynccontextmanager
async def _without_transactions(connection: Connection) -> AsyncIterator[None]:
    """One statement needs no BEGIN and no COMMIT, each of which is a way to Postgres and back."""
    await connection.set_autocommit(True)
    try:
        yield
    finally:
        # What went away or is stuck in its statement is thrown away by the pool.
        if connection.info.transaction_status is TransactionStatus.IDLE:
            await connection.set_autocommit(False)


def filters_of(selection: Selection) -> dict[str, object]:
    """The parameters of this file's statements that filter; `after` and `until_position` are the caller's."""
    return {
        "since_time": selection.since_time,
        "until_time": selection.until_time,
        "stream": selection.stream,
        "types": [_like(wanted) for wanted in selection.types] or None,
        "project": selection.project,
    }


def _like(wanted: str) -> str:
    """A type as a pattern of LIKE: its underscores are no wildcards, its star is one."""
    return re.sub(r"[\\%_]", r"\\\g<0>", wanted).replace("*", "%")
