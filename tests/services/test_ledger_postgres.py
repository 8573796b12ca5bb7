"""What only the Postgres ledger can do: rights, commit order, what its rows look like, positions with the effect."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from chatledger import metrics, topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_reader import ROLE as READER
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import migrate, open_pool
from chatledger.errors import ConfigurationError
from chatledger.events import Envelope
from chatledger.events.codec import encode_data, ledger_metadata
from chatledger.events.ids import derive_id
from chatledger.ports import Appended, Selection, TopicPartition
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.dialog import message
from tests.support.ledger import as_records, history, open_ledger, recorder_pool
from tests.support.postgres import fresh_database
from tests.unit.strategies import envelopes

RUNS = count()
pytestmark = pytest.mark.postgres

COLUMNS = (
    "position, id, stream, version, type, data, metadata, occurred_at, recorded_at, topic, partition, source_offset"
)


async def test_the_table_has_the_columns_that_users_rely_on(postgres_url):
    async with open_ledger(postgres_url), await psycopg.AsyncConnection.connect(postgres_url) as connection:
        described = await connection.execute("SELECT * FROM ledger.events LIMIT 0")
        assert ", ".join(column.name for column in described.description or ()) == COLUMNS


async def test_a_row_holds_what_the_record_said(postgres_url):
    envelope = message("77", 1, "привет")
    async with open_ledger(postgres_url) as ledger, await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await ledger.append([recorded(envelope, topic=topics.INBOUND, partition=3, offset=12)])
        rows = await connection.execute(
            "SELECT id::text, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset"
            " FROM ledger.events"
        )
        event_id, stream, version, type_name, data, metadata, *rest = (await rows.fetchone()) or ()
    assert (event_id, stream, version, type_name) == (envelope.id, envelope.stream, None, "message.received")
    assert data["text"] == "привет"
    assert metadata == ledger_metadata(envelope)
    assert rest == [envelope.time, topics.INBOUND, 3, 12]


@pytest.mark.parametrize(
    "statement", ["UPDATE ledger.events SET type = 'x'", "DELETE FROM ledger.events", "TRUNCATE ledger.events"]
)
@pytest.mark.parametrize("role", ["owner", "chatledger_recorder"])
async def test_history_cannot_be_changed(postgres_url, statement, role):
    async with open_ledger(postgres_url), await psycopg.AsyncConnection.connect(postgres_url) as connection:
        if role != "owner":
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            await connection.execute(statement)
        if role == "owner":
            assert "append-only" in str(refused.value)
            assert "Record a new event" in str(refused.value.diag.message_hint)


async def test_the_recorder_cannot_forge_a_position_or_a_time(postgres_url):
    async with recorder_pool(postgres_url) as pool:
        for column, value in (("position", "7"), ("recorded_at", "now()")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with pool.connection() as connection:
                    await connection.execute(
                        f"INSERT INTO ledger.events ({column}, id, stream, type, data, metadata, occurred_at, topic,"
                        f" partition, source_offset) OVERRIDING SYSTEM VALUE"
                        f" VALUES ({value}, gen_random_uuid(), 's', 't', '{{}}', '{{}}', now(), 't', 0, 0)".encode()
                    )


async def test_a_reader_can_only_read(postgres_url):
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        pool = await open_pool(postgres_url, role=READER)
        try:
            assert await PostgresLedgerReader(pool).last_position() > 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await PostgresLedger(pool, incarnation="x", clock=SystemClock()).append(as_records(history("78")))
        finally:
            await pool.close()


async def test_a_position_never_goes_back(postgres_url):
    partition = TopicPartition(topics.INBOUND, 0)
    async with open_ledger(postgres_url) as ledger:
        await ledger.append([recorded(message("77", 1, "hi"), topic=topics.INBOUND, offset=9)])
        assert await ledger.positions.load([partition]) == {partition: 10}
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="cannot go back from 10 to 3"):
            async with recorder_pool(postgres_url) as pool, pool.connection() as connection:
                await ledger.positions.save(connection, {partition: 3})


async def test_another_life_of_the_broker_has_positions_of_its_own(postgres_url):
    records = as_records(history("77"))
    async with open_ledger(postgres_url) as first, open_ledger(postgres_url, incarnation="second") as second:
        await first.append(records)
        assert await second.append(records) == Appended(recorded=0, duplicates=len(records))
        other = [recorded(message("78", 1, "hi"), topic=topics.DIALOG, partition=2, offset=0)]
        assert await second.append(other) == Appended(recorded=1, duplicates=0)


async def test_duplicates_and_new_events_mixed_go_in_whole(postgres_url):
    async with open_ledger(postgres_url) as ledger:
        placed = [pair for client in range(40) for pair in history(str(client))]
        await ledger.append(as_records(placed[: len(placed) // 2]))
        appended = await ledger.append(as_records(placed, first_offset=10_000))
        assert appended.recorded == len(placed) - len(placed) // 2
        # The next batch, all new, is still taken with care; the one after it goes straight again.
        more = [pair for client in "abc" for pair in history(client)]
        assert (await ledger.append(as_records(more, first_offset=50_000))).duplicates == 0
        assert [event.envelope async for event in ledger.read()] == [each for _, each in [*placed, *more]]


async def test_a_stretch_of_positions_that_were_never_given_is_passed_over(postgres_url):
    async with recorder_pool(postgres_url) as pool:
        ledger = PostgresLedger(pool, incarnation="tests", clock=SystemClock())
        reader = PostgresLedgerReader(pool, positions_per_read=3)
        await ledger.append(as_records(history("77")))
        await ledger.append(as_records(history("77"), first_offset=900))  # refused by COPY: its positions are lost
        await ledger.append(as_records(history("78"), first_offset=2_000))
        expected = [each for _, each in [*history("77"), *history("78")]]
        assert [event.envelope async for event in reader.read()] == expected
        assert await reader.count() == len(expected)
        assert (await reader.conversations()) == ["order-form/chat2desk/77", "order-form/chat2desk/78"]


async def test_a_tailer_beside_eight_writers_misses_nothing(postgres_url):
    async with recorder_pool(postgres_url) as reading:
        pools = [await open_pool(postgres_url, connections_max=1, role="chatledger_recorder") for _ in range(8)]
        reader, seen, writing = PostgresLedgerReader(reading), list[int](), True

        async def write(writer: int) -> None:
            ledger = PostgresLedger(pools[writer], incarnation=f"w{writer}", clock=SystemClock())
            for offset in range(0, 300, 10):
                batch = [message(f"{writer}-{number}", 1, "hi") for number in range(offset, offset + 10)]
                await ledger.append(as_records([(topics.INBOUND, each) for each in batch], first_offset=offset))

        async def tail() -> None:
            while True:
                done = not writing
                seen.extend([event.position async for event in reader.read(Selection(after=seen[-1] if seen else 0))])
                if done:
                    return
                await asyncio.sleep(0)

        tailing = asyncio.create_task(tail())
        await asyncio.gather(*(write(writer) for writer in range(8)))
        writing = False
        await tailing
        for pool in pools:
            await pool.close()
        assert len(seen) == 8 * 300
        assert seen == [event.position async for event in reader.read()]


async def test_dead_letters_are_counted(postgres_url):
    counter = metrics.DEAD_LETTERS.labels("ledger")
    before = counter._value.get()
    async with open_ledger(postgres_url) as ledger:
        record = recorded(message("77", 1, "hi"), topic=topics.INBOUND)
        await ledger.append([replace(record, value=b"{"), replace(record, headers=(), offset=1)])
    assert counter._value.get() - before == 2


async def test_migrations_of_several_databases_at_once_share_the_roles(postgres_server):
    with fresh_database(postgres_server) as one, fresh_database(postgres_server) as two:
        applied = await asyncio.gather(
            *(migrate(url, schema="ledger", package="chatledger_ledger") for url in (one, one, two, two))
        )
    scripts = len(applied[0] or applied[1])
    assert sorted(map(len, applied)) == [0, 0, scripts, scripts]
    assert scripts > 0


async def test_a_user_without_superpowers_can_migrate_and_record(postgres_server, postgres_url):
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        name = f"plain_{postgres_url.rpartition('_')[2]}"
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'x'").format(sql.Identifier(name)))
        for role in ("chatledger_recorder", "chatledger_reader"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
        database = sql.Identifier(postgres_url.rpartition("/")[2])
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(name)))
    url = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="x")
    async with open_ledger(url) as ledger:
        assert (await ledger.append(as_records(history("77")))).duplicates == 0


@pytest.mark.parametrize("is_owner", [False, True])
async def test_a_user_who_may_not_set_up_the_ledger_is_told_what_is_missing(postgres_server, postgres_url, is_owner):
    async with recorder_pool(postgres_url):
        pass  # so that the roles are there, and another user's
    with fresh_database(postgres_server) as url, psycopg.connect(postgres_server.url, autocommit=True) as admin:
        name = f"bare_{url.rpartition('_')[2]}"
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        if is_owner:
            database = sql.Identifier(url.rpartition("/")[2])
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(name)))
        bare = psycopg.conninfo.make_conninfo(url, user=name, password="x")
        with pytest.raises(ConfigurationError, match="may not set up the schema ledger"):
            await migrate(bare, schema="ledger", package="chatledger_ledger")


async def test_a_url_that_is_none_is_a_wrong_setting():
    with pytest.raises(ConfigurationError, match="CHATLEDGER_DATABASE is no Postgres URL"):
        await migrate("mysql://somewhere/else", schema="ledger", package="chatledger_ledger")


@given(originals=st.lists(envelopes(), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_envelope_comes_back_from_its_row_as_it_was(postgres_url, originals):
    run = next(RUNS)
    originals = [storable(each, f"{run}-{number}") for number, each in enumerate(originals)]
    async with open_ledger(postgres_url, incarnation=f"run {run}") as ledger:
        start = await ledger.last_position()
        await ledger.append(as_records([(topics.DIALOG, each) for each in originals]))
        back = [event.envelope async for event in ledger.read(Selection(after=start))]
    for original, returned in zip(originals, back, strict=True):
        assert replace(returned, data=original.data) == original
        assert type(returned.data) is type(original.data)
        assert as_json(encode_data(returned.data)) == as_json(encode_data(original.data))


def storable(envelope: Envelope, name: str) -> Envelope:
    """With a UUID for an id, and in a stream of its own: the ledger has one event in each place."""
    return replace(envelope, id=derive_id(name), stream=f"{envelope.stream}-{name}".replace("\x1f", ""))


def as_json(data: bytes) -> Any:
    """The value, with numbers that JSON does not tell apart made one: jsonb writes 1e22 as an integer."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    return plain(json.loads(data))
