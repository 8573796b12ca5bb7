"""API keys in Postgres: only hashes are kept, a revoked key stops, and the command line over all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from typer.testing import CliRunner, Result

from chatledger.access import Principal, Scope, key_hash
from chatledger.adapters.api_keys import (
    REMEMBERED_FOR_S,
    REMEMBERED_MAX,
    PostgresKeyRing,
    create_key,
    list_keys,
    migrate_api_keys,
    revoke_keys,
)
from chatledger.adapters.postgres import Pool, open_pool
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger_cli.main import build
from tests.e2e.up_process import PROJECTS

pytestmark = pytest.mark.postgres


class Time:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    await migrate_api_keys(postgres_url)
    opened = await open_pool(postgres_url, connections_max=2)
    yield opened
    await opened.close()


async def test_a_key_stands_for_its_name_scope_and_project(postgres_url: str, pool: Pool) -> None:
    ring = PostgresKeyRing(pool)
    reader, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    shop, _ = await create_key(postgres_url, name="the shop's own", scope=Scope.WRITE, project="store")
    assert await ring.principal(reader) == Principal(name="dashboard", scope=Scope.READ)
    assert await ring.principal(shop) == Principal(name="the shop's own", scope=Scope.WRITE, project="store")
    assert await ring.principal(reader[:-1]) is None
    assert await ring.principal(key_hash(reader)) is None


async def test_the_table_has_hashes_alone(postgres_url: str, pool: Pool) -> None:
    key, kept = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT to_jsonb(k)::text FROM access.api_keys k")).fetchall()
    [(text,)] = rows
    assert key_hash(key) in text
    assert key not in text
    assert key.removeprefix(kept.prefix) not in text
    assert kept.prefix == key[:12]


async def test_a_revoked_key_stops_within_the_time_that_keys_are_remembered(postgres_url: str, pool: Pool) -> None:
    time = Time()
    ring = PostgresKeyRing(pool, monotonic=time)
    key, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    assert await ring.principal(key) is not None
    assert [each.name for each in await revoke_keys(postgres_url, "dashboard")] == ["dashboard"]
    time.now += REMEMBERED_FOR_S
    assert await ring.principal(key) is None
    assert await revoke_keys(postgres_url, "dashboard") == []


async def test_a_known_key_costs_no_query(postgres_url: str, pool: Pool) -> None:
    time = Time()
    ring = PostgresKeyRing(pool, monotonic=time)
    key, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    await ring.principal(key)
    await pool.close()
    assert await ring.principal(key) is not None
    time.now += REMEMBERED_FOR_S
    with pytest.raises(OutsideUnavailable):
        await ring.principal(key)


async def test_while_postgres_is_away_nothing_is_remembered(postgres_url: str, pool: Pool) -> None:
    ring = PostgresKeyRing(pool, monotonic=Time())
    key, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    await ring.principal(key)
    await pool.close()
    with pytest.raises(OutsideUnavailable):
        await ring.principal("clk_another")
    with pytest.raises(OutsideUnavailable):
        await ring.principal(key)


async def test_many_requests_at_once_ask_once(postgres_url: str) -> None:
    await migrate_api_keys(postgres_url)
    key, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    async with AsyncConnectionPool(postgres_url, min_size=1, max_size=1, open=False) as pool:
        ring = PostgresKeyRing(pool, monotonic=Time())
        found = await asyncio.gather(*(ring.principal(key) for _ in range(50)))
        assert {each.name for each in found if each} == {"dashboard"}
        assert None not in found
        assert pool.get_stats()["requests_num"] == 1


async def test_more_keys_than_are_remembered_are_known_all_the_same(postgres_url: str, pool: Pool) -> None:
    ring = PostgresKeyRing(pool, monotonic=Time())
    key, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO access.api_keys (hash, prefix, name, scope)"
            " SELECT encode(sha256(('clk_' || n)::bytea), 'hex'), 'clk_', 'n' || n, 'read'"
            " FROM generate_series(1, %s) n",
            (REMEMBERED_MAX + 1,),
        )
    for number in range(1, REMEMBERED_MAX + 2):
        assert await ring.principal(f"clk_{number}") is not None
    assert await ring.principal(key) is not None


async def test_the_day_of_the_last_use_is_noted(postgres_url: str, pool: Pool) -> None:
    key, kept = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    assert kept.last_used_on is None
    days = {datetime.now(UTC).date()}
    await PostgresKeyRing(pool).principal(key)
    await PostgresKeyRing(pool).principal(key)
    days.add(datetime.now(UTC).date())
    [listed] = await list_keys(postgres_url)
    assert listed.last_used_on in days


async def test_two_keys_in_use_have_two_names_and_a_revoked_one_gives_its_name_free(
    postgres_url: str, pool: Pool
) -> None:
    first, _ = await create_key(postgres_url, name="dashboard", scope=Scope.READ)
    with pytest.raises(ConfigurationError, match="a key in use is called 'dashboard'"):
        await create_key(postgres_url, name="dashboard", scope=Scope.WRITE)
    await revoke_keys(postgres_url, "dashboard")
    second, _ = await create_key(postgres_url, name="dashboard", scope=Scope.WRITE)
    ring = PostgresKeyRing(pool)
    assert (await ring.principal(first), (await ring.principal(second)) is None) == (None, False)
    assert [(each.scope, each.revoked_at is None) for each in await list_keys(postgres_url)] == [
        ("write", True),
        ("read", False),
    ]


@pytest.mark.parametrize("name", ["", " ", "clk_abc", "a\nb", "x" * 101])
async def test_a_name_that_is_none_is_refused(name: str, postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="the name of a key"):
        await create_key(postgres_url, name=name, scope=Scope.READ)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, postgres_url: str):
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.setenv("CHATLEDGER_PROJECTS", str(PROJECTS))
    monkeypatch.setenv("COLUMNS", "160")

    def keys(*words: str) -> Result:
        return CliRunner().invoke(build(["keys"]), ["keys", *words])

    return keys


def test_keys_on_the_command_line(run, postgres_url: str) -> None:
    assert run("list").stderr == "no keys: `chatledger keys create --name NAME --scope read` makes one\n"
    made = run("create", "--name", "[b]dashboard", "--scope", "read")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert "keep it now" in made.stderr
    made = json.loads(run("create", "--name", "shop", "--scope", "write", "--project", "order-form", "--json").stdout)
    assert (made["scope"], made["project"], made["key"][:12]) == ("write", "order-form", made["prefix"])
    listed = run("list").stdout
    assert all(each in listed for each in (key[:12], made["prefix"], "[b]dashboard", "write", "never"))
    assert key not in listed
    assert [json.loads(line)["name"] for line in run("list", "--json").stdout.splitlines()] == ["[b]dashboard", "shop"]
    assert run("revoke", made["prefix"]).stdout == f"revoked {made['prefix']} (shop)\n"
    assert run("revoke", "[b]dashboard").exit_code == 0
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM access.api_keys WHERE revoked_at IS NULL").fetchone() == (0,)


def test_what_cannot_be_done_is_said(run) -> None:
    assert "choose one of" in str(run("create", "--name", "x", "--scope", "read", "--project", "nobody").exception)
    assert "no key in use is called 'x'" in str(run("revoke", "x").exception)
    assert run("create", "--name", "x", "--scope", "everything").exit_code == 2
