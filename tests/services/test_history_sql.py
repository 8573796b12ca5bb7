"""The schema `history` as analysts find it: documented column by column, for readers alone, quick where it says so."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.docs.blocks import fenced_blocks
from tests.services.test_history_sql_views import scene
from tests.support.history_sql import HistoryDatabase, history_database

pytestmark = pytest.mark.postgres
DOCUMENT = Path(__file__).parents[2] / "docs" / "history-sql.md"
EXAMPLES = [
    block for block in fenced_blocks(DOCUMENT.read_text()) if block.language == "sql" and "not-run" not in block.words
]
SHOWN = {
    "events": "events",
    "conversations_at": "known_conversation",
    "steps": "steps",
    "orders_at": "known_order",
    "messages": "messages",
    "funnel": "funnel",
    "response_times": "response_times",
    "response_times_by_hour": "response_times_by_hour",
}
"""The section of the document for each view or function, and the view or type that has its columns."""
ONE_CONVERSATION = "conversation-order-form/chat2desk/77"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[HistoryDatabase]:
    async with history_database(postgres_url) as opened:
        await opened.record(scene(), at_once=50)
        yield opened


def section(name: str) -> str:
    text = DOCUMENT.read_text()
    begin = re.search(rf"^##+ history\.{name}$", text, re.MULTILINE)
    assert begin, f"docs/history-sql.md has no section for history.{name}"
    return re.split(r"^##+ ", text[begin.end() :], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("name", "columns_of"), SHOWN.items())
async def test_every_column_stands_in_the_document_as_the_database_describes_it(
    database: HistoryDatabase, name: str, columns_of: str
) -> None:
    rows = await database.ask(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS meaning"
        " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        f"history.{columns_of}",
    )
    short = {"timestamp with time zone": "timestamptz", "double precision": "float8"}
    expected = [f"| `{row['attname']}` | {short.get(row['type'], row['type'])} | {row['meaning']} |" for row in rows]
    assert [line for line in section(name).splitlines() if line.startswith("| `")] == expected


async def test_every_view_function_and_type_is_described_and_mentioned(database: HistoryDatabase) -> None:
    rows = await database.ask(
        "SELECT relname AS name, obj_description(oid, 'pg_class') AS meaning FROM pg_class"
        " WHERE relnamespace = 'history'::regnamespace AND relkind = 'v'"
        " UNION ALL SELECT proname, obj_description(oid, 'pg_proc') FROM pg_proc"
        " WHERE pronamespace = 'history'::regnamespace"
    )
    text = DOCUMENT.read_text()
    assert len(rows) > 20
    assert [row["name"] for row in rows if not row["meaning"] or row["meaning"] not in text] == []
    assert [row["name"] for row in rows if f"history.{row['name']}" not in text] == []
    types = await database.ask(
        "SELECT typname, obj_description(oid, 'pg_type') AS meaning FROM pg_type"
        " WHERE typnamespace = 'history'::regnamespace AND typtype = 'c'"
    )
    views = {row["name"] for row in rows}
    assert [row["typname"] for row in types if not row["meaning"] and row["typname"] not in views] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: f"line-{block.line}")
async def test_the_examples_run_and_find_something(database: HistoryDatabase, example) -> None:
    rows = await database.ask(example.body)
    assert rows or "may-be-empty" in example.words


async def test_a_reader_can_change_nothing(database: HistoryDatabase) -> None:
    for statement in (
        "INSERT INTO history.events (id) VALUES (gen_random_uuid())",
        "DELETE FROM history.messages",
        "UPDATE history.steps SET status = 'x'",
        "CREATE TABLE history.mine (id int)",
        "CREATE VIEW history.mine AS SELECT 1",
        "DROP VIEW history.funnel",
    ):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            await database.ask(statement)


async def test_nobody_else_can_read_and_who_asks_asks_with_rights_of_his_own(
    database: HistoryDatabase, postgres_url: str
) -> None:
    stranger = sql.Identifier(f"stranger_{postgres_url.rpartition('_')[2]}")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as owner:
        await owner.execute(sql.SQL("CREATE ROLE {}").format(stranger))
        try:
            await owner.execute(sql.SQL("SET ROLE {}").format(stranger))
            await refused(owner, "SELECT * FROM history.events")
            await owner.execute("RESET ROLE")
            for grant in ("USAGE ON SCHEMA history", "SELECT ON ALL TABLES IN SCHEMA history"):
                await owner.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant), stranger))
            await owner.execute(sql.SQL("SET ROLE {}").format(stranger))
            for name in ("events", "steps", "messages", "funnel", "response_times", "response_times_by_hour"):
                await refused(owner, f"SELECT * FROM history.{name}")
            await refused(owner, "SELECT * FROM history.conversations_at(now())")
        finally:
            await owner.execute("RESET ROLE")
            await owner.execute(sql.SQL("DROP OWNED BY {}").format(stranger))
            await owner.execute(sql.SQL("DROP ROLE {}").format(stranger))


async def refused(connection: psycopg.AsyncConnection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await connection.execute(query.encode())


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT * FROM history.events WHERE stream = '{ONE_CONVERSATION}'",
        "SELECT * FROM history.events WHERE position BETWEEN 3 AND 9",
        "SELECT * FROM history.events WHERE recorded_at > now() - interval '1 minute'",
        "SELECT * FROM history.events WHERE id = '00000000-0000-5000-8000-000000000000'",
        "SELECT * FROM history.conversation_at('order-form/chat2desk/77', now())",
        f"SELECT * FROM history.conversations_at(now()) WHERE stream = '{ONE_CONVERSATION}'",
        f"SELECT * FROM history.steps WHERE stream = '{ONE_CONVERSATION}'",
        "SELECT * FROM history.order_at('x', now())",
        "SELECT * FROM history.messages_of('order-form/chat2desk/77')",
        "SELECT * FROM history.messages WHERE recorded_at > now() - interval '1 minute'",
        f"SELECT * FROM history.response_times WHERE stream = '{ONE_CONVERSATION}'",
    ],
)
async def test_what_is_said_to_be_quick_needs_no_walk_through_history(database: HistoryDatabase, query: str) -> None:
    # On a table of a few pages a walk is the best plan; where it is forbidden, one that is left has no other way.
    await database.analyst.execute("SET enable_seqscan = off")
    plan = "\n".join(str(line) for row in await database.ask(f"EXPLAIN {query}") for line in row.values())
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan
    # Nor by an index from end to end.
    assert not re.search(r"Index Scan using \w+ on events\b(?!.*\n\s+Index Cond)", plan), plan


async def test_a_walk_would_be_seen(database: HistoryDatabase) -> None:
    await database.analyst.execute("SET enable_seqscan = off")
    for query in ("SELECT * FROM history.events WHERE project = 'store'", "SELECT * FROM history.response_times"):
        plan = "\n".join(str(line) for row in await database.ask(f"EXPLAIN {query}") for line in row.values())
        assert "Seq Scan" in plan
