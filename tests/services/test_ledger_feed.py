"""Following the ledger: nothing missed, nothing twice, in order, whatever is slow, lost or restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_feed import LedgerFeed, PositionBeyondEnd
from chatledger.adapters.ledger_records import ledger_record
from chatledger.adapters.ledger_rows import copy_line
from chatledger.adapters.postgres import Connection, Pool, open_pool
from chatledger.errors import ConfigurationError
from chatledger.ports import EVERYTHING, ConsumedRecord, LedgerEvent, Selection
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from chatledger_ledger.queries import load_queries
from tests.support.dialog import message
from tests.support.ledger import as_records, history, open_ledger, recorder_pool
from tests.support.postgres import temporary_postgres

pytestmark = pytest.mark.postgres
QUERIES = load_queries("ledger.sql")
WRITERS, EVENTS_EACH = 8, 2_500
BATCHES = (1, 3, 40, 200, 7)
SLOW_S, SLOW_WITHOUT_LOCK_S = 0.02, 0.1
"""How long a small batch has its positions and is not committed. Without the lock nobody waits for it."""
LONG_S = 30.0
"""Beyond any test: what comes by then did not come by looking."""


class Follower:
    """Follows in a task of its own, and keeps what it was given."""

    def __init__(self, feed: LedgerFeed, selection: Selection = EVERYTHING) -> None:
        self.seen: list[LedgerEvent] = []
        self._more = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(feed, selection))

    @property
    def positions(self) -> list[int]:
        return [event.position for event in self.seen]

    async def reach(self, position: int, *, timeout_s: float = LONG_S) -> None:
        """Wait until it was given the event at `position`."""
        async with asyncio.timeout(timeout_s), self._more:
            await self._more.wait_for(lambda: self._task.done() or bool(self.seen and self.positions[-1] >= position))

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, feed: LedgerFeed, selection: Selection) -> None:
        async for event in feed.follow(selection):
            async with self._more:
                self.seen.append(event)
                self._more.notify_all()


@asynccontextmanager
async def following(
    url: str, selection: Selection = EVERYTHING, *, poll_s: float = LONG_S
) -> AsyncIterator[tuple[PostgresLedger, Follower]]:
    """A ledger, and somebody who follows it."""
    async with open_ledger(url) as ledger, LedgerFeed(url, poll_s=poll_s) as feed:
        follower = Follower(feed, selection)
        yield ledger, follower
        await follower.end()


def batch(writer: int, start: int, size: int) -> list[ConsumedRecord]:
    messages = [message(f"{writer}-{number}", 1, "hi") for number in range(start, start + size)]
    return as_records([(topics.INBOUND, each) for each in messages], first_offset=start)


async def write_slowly(connection: Connection, records: Sequence[ConsumedRecord], *, locks: bool) -> None:
    """Append as the recorder does, but stay a while between the positions and the commit."""
    async with connection.transaction():
        if locks:
            await connection.execute(QUERIES["lock"])
        async with connection.cursor() as cursor, cursor.copy(QUERIES["copy"]) as copy:
            await copy.write(b"".join(copy_line(ledger_record(each)) for each in records))
        if len(records) < 10:
            await asyncio.sleep(SLOW_S if locks else SLOW_WITHOUT_LOCK_S)


async def write_all(url: str, *, locks: bool) -> None:
    """Eight writers beside each other, each on a connection of its own; every second one is the recorder's own code."""

    async def write(writer: int, pool: Pool) -> None:
        ledger = PostgresLedger(pool, incarnation=f"w{writer}", clock=SystemClock())
        start, sizes = 0, count(writer)
        while start < EVENTS_EACH:
            size = min(BATCHES[next(sizes) % len(BATCHES)], EVENTS_EACH - start)
            records = batch(writer, start, size)
            if locks and writer % 2:
                await ledger.append(records)
            else:
                async with pool.connection() as connection:
                    await write_slowly(connection, records, locks=locks)
            start += size

    pools = [await open_pool(url, connections_max=1, role=ROLE) for _ in range(WRITERS)]
    try:
        await asyncio.gather(*(write(writer, pool) for writer, pool in enumerate(pools)))
    finally:
        for pool in pools:
            await pool.close()


async def missed_beside_writers(url: str, *, locks: bool) -> set[int]:
    """Which positions somebody who follows was not given; what it was given was in order and once."""
    async with following(url) as (ledger, follower):
        await write_all(url, locks=locks)
        everything = [event.position async for event in ledger.read()]
        await follower.reach(everything[-1])
    assert len(everything) == WRITERS * EVENTS_EACH
    assert follower.positions == sorted(set(follower.positions))
    return set(everything) - set(follower.positions)


@pytest.mark.slow
async def test_beside_eight_writers_nothing_of_20000_events_is_missed(postgres_url: str) -> None:
    assert await missed_beside_writers(postgres_url, locks=True) == set()


@pytest.mark.slow
async def test_where_writers_take_no_lock_events_are_missed_and_that_is_found(postgres_url: str) -> None:
    assert await missed_beside_writers(postgres_url, locks=False) != set()


async def test_history_comes_first_and_then_what_is_recorded(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        before = [event async for event in ledger.read()]
        async with LedgerFeed(postgres_url, poll_s=LONG_S, positions_per_read=4) as feed:
            follower = Follower(feed, Selection(after=before[2].position))
            await follower.reach(before[-1].position)
            await ledger.append(as_records(history("78"), first_offset=1_000))
            events = [event async for event in ledger.read()]
            await follower.reach(events[-1].position)
            await follower.end()
    assert follower.seen == events[3:]


async def test_an_event_is_told_at_once_and_without_a_notification_by_looking(postgres_url: str) -> None:
    async with following(postgres_url) as (ledger, follower):
        await ledger.append(batch(1, 0, 1))
        await follower.reach(1, timeout_s=5)
        with psycopg.connect(postgres_url) as owner:
            owner.execute("ALTER TABLE ledger.events DISABLE TRIGGER events_tell_followers")
        await ledger.append(batch(1, 1, 1))
        with pytest.raises(TimeoutError):
            await follower.reach(2, timeout_s=0.5)
    async with following(postgres_url, Selection(after=1), poll_s=0.05) as (ledger, follower):
        await follower.reach(2, timeout_s=5)
        await ledger.append(batch(1, 2, 1))
        await follower.reach(3, timeout_s=5)
        assert follower.positions == [2, 3]


async def test_connections_that_are_ended_are_made_again_and_nothing_is_told_twice(postgres_url: str) -> None:
    async with open_ledger(postgres_url):
        pass
    async with LedgerFeed(postgres_url, poll_s=0.2) as feed:
        follower = Follower(feed)
        for start in range(0, 50, 10):
            async with open_ledger(postgres_url) as ledger:
                await ledger.append(batch(1, start, 10))
            await follower.reach(start + 10)
            assert end_backends(postgres_url) >= 2
        assert follower.positions == list(range(1, 51))
        await follower.end()


def end_backends(url: str) -> int:
    """End all connections to this database but ours; returns how many there were."""
    with psycopg.connect(url, autocommit=True) as owner:
        ended = owner.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
    assert ended is not None
    return int(ended[0])


@pytest.mark.slow
async def test_following_survives_a_restart_of_postgres() -> None:
    with temporary_postgres() as server:
        async with open_ledger(server.url) as ledger:
            await ledger.append(batch(1, 0, 10))
        async with LedgerFeed(server.url, poll_s=0.1) as feed:
            follower = Follower(feed)
            await follower.reach(10)
            server.stop()
            server.start()
            async with open_ledger(server.url) as ledger:
                await ledger.append(batch(1, 10, 10))
                last = await ledger.last_position()
            await follower.reach(last)
            await follower.end()
        assert [event.envelope.id for event in follower.seen] == [
            message(f"1-{number}", 1, "hi").id for number in range(20)
        ]


async def test_filters_apply_and_the_position_moves_past_what_is_left_out(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger, LedgerFeed(postgres_url, poll_s=LONG_S) as feed:
        await ledger.append(as_records(history("77")))
        last = await ledger.last_position()
        wanted = Selection(types=("order.placed", "address.given"), project="order-form")
        silent = feed.stretches(wanted, silence_s=0.01)
        while not (first := await anext(silent)).events:
            pass
        assert [each.envelope.data.type for each in first.events] == ["address.given", "order.placed"]
        assert first.position == last
        assert [stretch async for stretch in feed.stretches(Selection(project="x", until_position=last))] == []
        nothing = feed.stretches(Selection(project="x"), silence_s=0.01)
        while (await anext(nothing)).position < last:
            pass
        stream = feed.stretches(Selection(stream="conversation-order-form/chat2desk/77", types=("phone.given",)))
        assert [each.envelope.data.type for each in (await anext(stream)).events] == ["phone.given"]
        for each in (silent, nothing, stream):
            await each.aclose()


async def test_who_follows_ends_with_the_feed(postgres_url: str) -> None:
    stop = asyncio.Event()
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        async with LedgerFeed(postgres_url, poll_s=LONG_S, stop=stop) as feed, asyncio.timeout(LONG_S):
            count = 0
            async for event in feed.follow():
                count += 1
                if event.position == await ledger.last_position():
                    stop.set()
    assert count == len(history("77"))


async def test_a_page_has_what_is_there_and_says_how_far_it_looked(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        events = [event async for event in ledger.read()]
        async with LedgerFeed(postgres_url, positions_per_read=4) as feed:
            seen, after = list[LedgerEvent](), 0
            while after < events[-1].position:
                page = await feed.page(Selection(after=after), limit=5, reads_max=9)
                seen, after = [*seen, *page.events], page.position
                assert len(page.events) <= 5
            assert seen == events
            few = await feed.page(Selection(project="x"), limit=5, reads_max=2)
            assert (few.events, few.position) == ((), 8)


async def test_a_position_of_another_ledger_is_refused(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger, LedgerFeed(postgres_url) as feed:
        await ledger.append(as_records(history("77")))
        last = await ledger.last_position()
        with pytest.raises(PositionBeyondEnd, match=f"ends at position {last}, before {last + 1}"):
            await anext(feed.stretches(Selection(after=last + 1)))


async def test_a_database_without_a_ledger_cannot_be_followed(postgres_url: str) -> None:
    async with recorder_pool(postgres_url):
        pass  # so that the roles are there
    with psycopg.connect(postgres_url) as owner:
        owner.execute("DROP SCHEMA ledger CASCADE")
    with pytest.raises(ConfigurationError, match="has no ledger"):
        async with LedgerFeed(postgres_url) as feed:
            await anext(feed.stretches())
