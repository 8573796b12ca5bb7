"""Reading ahead on Postgres: whole and in order, whatever the stretches, and nothing is left behind at an early end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_reader import PostgresLedgerReader, filters_of
from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.postgres import Pool
from chatledger.adapters.sql_files import named_statements
from chatledger.ports import LedgerEvent, Selection
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.ledger import as_records, conversation_of, history, recorder_pool

pytestmark = pytest.mark.postgres
CLIENTS = 20


@pytest.fixture(params=[1, 4], ids=["one connection", "four connections"])
async def pool(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Pool]:
    async with recorder_pool(postgres_url, connections_max=request.param) as opened:
        ledger = PostgresLedger(opened, incarnation="tests", clock=SystemClock())
        for client in range(CLIENTS):
            await ledger.append(as_records(history(str(client)), first_offset=client * 1_000))
        yield opened


async def events_of(reader: PostgresLedgerReader, selection: Selection) -> list[LedgerEvent]:
    return [event async for event in reader.read(selection)]


async def test_stretches_of_any_length_make_one_history(pool):
    whole = await events_of(PostgresLedgerReader(pool, positions_per_read=100_000), Selection())
    assert [event.position for event in whole] == list(range(1, len(whole) + 1))
    for length in (1, 7, len(whole) - 1, len(whole)):
        assert await events_of(PostgresLedgerReader(pool, positions_per_read=length), Selection()) == whole


async def test_where_little_is_selected_none_of_it_is_missed(pool):
    reader = PostgresLedgerReader(pool, positions_per_read=2)
    whole = await events_of(reader, Selection())
    for selection in (
        Selection(types=("invoice.issued",)),
        Selection(types=("conversation.started", "message.sent"), after=5, until_position=len(whole) - 5),
        Selection(project="nobody"),
        Selection(since_time=whole[-1].recorded_at),
        Selection(until_time=whole[0].recorded_at),
    ):
        assert await events_of(reader, selection) == [event for event in whole if selection.includes(event)]


async def test_a_row_and_its_event_say_the_same(pool):
    reader = PostgresLedgerReader(pool)
    rows = [row async for row in reader.records()]
    assert await events_of(reader, Selection()) == [
        ledger_event(row.record, position=row.position, recorded_at=row.recorded_at) for row in rows
    ]


@pytest.mark.parametrize("way", ["read", "records"])
async def test_who_stops_early_leaves_nothing_behind(pool, way):
    before = asyncio.all_tasks()
    reading = getattr(PostgresLedgerReader(pool, positions_per_read=3), way)()
    assert (await anext(reading)).position == 1
    await reading.aclose()
    assert asyncio.all_tasks() == before
    async with asyncio.timeout(10), pool.connection() as connection:
        assert not connection.autocommit
    assert await PostgresLedgerReader(pool).last_position() == len(
        await events_of(PostgresLedgerReader(pool), Selection())
    )


async def test_who_is_cancelled_while_reading_leaves_nothing_behind(pool):
    async def read_and_wait() -> None:
        events: Any = PostgresLedgerReader(pool, positions_per_read=3).read()
        async with aclosing(events):
            async for _ in events:
                started.set()
                await asyncio.Event().wait()

    before, started = asyncio.all_tasks(), asyncio.Event()
    reading = asyncio.create_task(read_and_wait())
    await started.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == before
    async with asyncio.timeout(10):
        assert await PostgresLedgerReader(pool).last_position() > 0


async def test_a_postgres_that_goes_away_is_an_error_not_an_end(pool, postgres_url):
    reading = PostgresLedgerReader(pool, positions_per_read=1).read()
    await anext(reading)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(psycopg.OperationalError):
        async for _ in reading:
            pass


async def test_a_stream_is_found_by_its_index_in_a_table_that_nobody_has_analysed(pool, postgres_url):
    query = named_statements("chatledger.adapters", "ledger_reader.sql")["read_stream"]
    selection = Selection(stream=f"conversation-{conversation_of('7')}")
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute("DELETE FROM pg_statistic WHERE starelid = 'ledger.events'::regclass")
        bounds = {**filters_of(selection), "after": 0, "until_position": 2**63 - 1}
        explained = await (await connection.execute(b"EXPLAIN " + query, bounds)).fetchall()
    plan = "\n".join(line for (line,) in explained)
    assert "events_stream_version" in plan
    assert "events_position" not in plan


async def test_events_without_a_version_are_read_with_their_stream(pool):
    stream = f"conversation-{conversation_of('7')}"
    events = await events_of(PostgresLedgerReader(pool), Selection(stream=stream))
    assert {event.topic for event in events} == {topics.INBOUND, topics.DIALOG}
    assert [event.position for event in events] == sorted(event.position for event in events)
