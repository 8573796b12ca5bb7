"""History as it goes on: the events after a position, and then whatever is recorded, for as long as anybody listens.

Reading goes on by position alone, and positions rise in commit order, because every writer takes the ledger's lock
first: so nothing is missed, whatever is slow or lost. Postgres tells of new events (NOTIFY ledger_events, one for each
COPY), and where that is lost, as with a connection through a pooler, they are found by looking every `poll_s`.

One connection listens for all who follow. Each of them reads a stretch of positions when it asks for more, and holds
no more than one in memory. While Postgres is away they wait, and go on after the last event that they gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog
from psycopg import AsyncConnection, sql

from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool, unreadable_url
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.ports import EVERYTHING, LedgerEvent, Selection

CHANNEL = "ledger_events"
"""What the trigger of ledger.events notifies."""
POLL_S = 1.0
"""What a lost notification costs."""
GATHER_S = 0.005
"""Notifications that come so soon after each other are one: a busy recorder commits hundreds of times a second."""
POSITIONS_PER_READ = 1_000
"""About 1 MB of events, for each who follows."""
CONNECTIONS_MAX = 4
ANSWER_TIMEOUT_S = 10.0
"""A Postgres that does not say by then how far the ledger is has gone, even if its connection looks well."""
READ_TIMEOUT_S = 60.0
"""For a stretch, which takes some milliseconds."""
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0

_LAST_POSITION = "SELECT coalesce(max(position), 0) FROM ledger.events"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was found up to and with `position`: everything before it was looked at, and what is not here left out."""

    position: int
    events: tuple[LedgerEvent, ...]


class PositionBeyondEnd(ConfigurationError):
    """The ledger ends before this position."""


class LedgerFeed:
    """Follows one ledger, from `async with` to its end. `stop` ends it too, and all who follow: their iterators end.

    Entering it raises OutsideUnavailable when Postgres does not answer, ConfigurationError when it has no ledger.
    `poll_s` bounds how late an event is when the notification of it was lost.
    """

    def __init__(
        self,
        database: str,
        *,
        poll_s: float = POLL_S,
        positions_per_read: int = POSITIONS_PER_READ,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._database = database
        self._poll_s = poll_s
        self._positions_per_read = positions_per_read
        self._stop = stop
        self._head = 0
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            looks = await self._first_look()
            pool = await open_pool(self._database, connections_max=CONNECTIONS_MAX, role=ROLE)
            self._opened.push_async_callback(pool.close)
        except BaseException:
            await self._opened.aclose()
            raise
        self._reader = PostgresLedgerReader(pool, positions_per_read=self._positions_per_read)
        self._listening = self._begin(self._listen(looks))
        if self._stop is not None:
            self._begin(self._close_after(self._stop))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self._opened.aclose()

    def close(self) -> None:
        """End every iterator that follows, as soon as it is asked for more."""
        self._closed.set()
        self._wake()

    async def last_position(self) -> int:
        """The position of the newest event; 0 where there is none. Raises psycopg.OperationalError."""
        return await self._reader.last_position()

    async def follow(self, selection: Selection = EVERYTHING) -> AsyncIterator[LedgerEvent]:
        """Yield what is selected after `selection.after`, then what comes, until the feed is closed.

        A selection that ends at a position ends there. Raises PositionBeyondEnd.
        """
        async with aclosing(self.stretches(selection)) as stretches:
            async for stretch in stretches:
                for event in stretch.events:
                    yield event

    async def stretches(
        self, selection: Selection = EVERYTHING, *, silence_s: float | None = None
    ) -> AsyncGenerator[Stretch, None]:
        """Yield the same stretch by stretch; after `silence_s` without one, an empty one that says how far it is.

        Raises PositionBeyondEnd when the ledger ends before `selection.after`, as another one would.
        """
        await self.require_reached(selection.after)
        clock = asyncio.get_running_loop().time
        position, until, spoken, retry_s = selection.after, selection.until_position, clock(), RETRY_FIRST_S
        while not self._closed.is_set() and (until is None or position < until):
            found: tuple[LedgerEvent, ...] = ()
            if self._head > position:
                try:
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        position, found = await self._read(selection, position)
                    retry_s = RETRY_FIRST_S
                except (psycopg.OperationalError, TimeoutError) as wrong:
                    _log.warning("ledger_feed.read_failed", error=str(wrong), retry_s=retry_s)
                    await _happens(self._closed, retry_s)
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
            else:
                await self._wait_for_news(None if silence_s is None else spoken + silence_s - clock())
            if found or (silence_s is not None and clock() >= spoken + silence_s):
                yield Stretch(position, found)
                spoken = clock()

    async def page(self, selection: Selection, *, limit: int, reads_max: int) -> Stretch:
        """Return the first `limit` of what is selected and there, and how far was looked, in at most `reads_max` reads.

        Raises PositionBeyondEnd, psycopg.OperationalError.
        """
        head = await self.last_position()
        self._reached(head)
        await self.require_reached(selection.after)
        position, events = selection.after, list[LedgerEvent]()
        for _ in range(reads_max):
            position, found = await self._read(selection, position)
            events += found
            if len(events) > limit:
                return Stretch(events[limit - 1].position, tuple(events[:limit]))
            if len(events) == limit or position >= head:
                break
        return Stretch(position, tuple(events))

    async def require_reached(self, position: int) -> None:
        """Raise PositionBeyondEnd when the ledger ends before `position`."""
        if position > self._head:
            # What listens may not have heard yet of what the caller has seen.
            self._reached(await self.last_position())
            if position > self._head:
                raise PositionBeyondEnd(
                    f"the ledger ends at position {self._head}, before {position}: is this position another ledger's?"
                )

    async def _read(self, selection: Selection, after: int) -> tuple[int, tuple[LedgerEvent, ...]]:
        """Return how far was read, and what is selected up to there."""
        end = self._head if selection.until_position is None else min(self._head, selection.until_position)
        if selection.stream is None:
            end = min(end, after + self._positions_per_read)
        if end <= after:
            return after, ()
        selected = replace(selection, after=after, until_position=end)
        return end, tuple([event async for event in self._reader.read(selected)])

    async def _wait_for_news(self, timeout_s: float | None) -> None:
        """Wait until the ledger has grown, or the feed is closed. Raises what the listening failed with."""
        if self._listening.done() and not self._closed.is_set():
            self._listening.result()
        await _happens(self._news, timeout_s)

    def _reached(self, head: int) -> None:
        """Note how far the ledger is. That never goes back: positions are not taken away."""
        if head > self._head:
            self._head = head
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start what runs until the feed ends."""
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._opened.push_async_callback(end)
        return task

    async def _close_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.close()

    async def _first_look(self) -> AsyncGenerator[None, None]:
        """Look once, so that what is wrong is said at once. Raises OutsideUnavailable, ConfigurationError."""
        looks = self._looks()
        self._opened.push_async_callback(looks.aclose)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await anext(looks)
        except (psycopg.OperationalError, TimeoutError) as wrong:
            raise OutsideUnavailable(f"the ledger's database does not answer: {wrong}") from wrong
        except (psycopg.ProgrammingError, psycopg.DataError) as wrong:
            raise _cannot_be_followed(wrong) from wrong
        return looks

    async def _listen(self, looks: AsyncGenerator[None, None]) -> None:
        """Note how far the ledger is, over as many connections as it takes. Raises what no later try can mend."""
        retry_s = RETRY_FIRST_S
        try:
            while True:
                try:
                    async with aclosing(looks):
                        async for _ in looks:
                            retry_s = RETRY_FIRST_S
                except (psycopg.OperationalError, TimeoutError) as wrong:
                    _log.warning("ledger_feed.connection_lost", error=str(wrong), retry_s=retry_s)
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
                    looks = self._looks()
        except (psycopg.ProgrammingError, psycopg.DataError) as wrong:
            raise _cannot_be_followed(wrong) from wrong
        finally:
            self._wake()

    async def _looks(self) -> AsyncGenerator[None, None]:
        """Look again and again on one connection, whenever Postgres tells of news, and every `poll_s`."""
        connection = await AsyncConnection.connect(self._database, autocommit=True)
        try:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(ROLE)))
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            while True:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    row = await (await connection.execute(_LAST_POSITION)).fetchone()
                if row is not None:
                    self._reached(row[0])
                yield
                async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                    await asyncio.sleep(GATHER_S)
        finally:
            await connection.close()


def _cannot_be_followed(wrong: psycopg.Error) -> Exception:
    if wrong.sqlstate is None and isinstance(wrong, psycopg.ProgrammingError):
        return unreadable_url(wrong)
    return ConfigurationError(
        f"this database has no ledger that can be followed ({wrong}): name the right one, or start `chatledger up`"
        f" with it; the database's user must be a member of {ROLE}"
    )


async def _happens(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait for an event, so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if timeout_s is None else max(0.0, timeout_s)):
            await event.wait()
