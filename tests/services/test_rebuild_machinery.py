"""What stands in a rebuild's way, what it leaves behind, and how lives of the broker are told apart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import Connection, migrate
from chatledger.adapters.rebuilding.declared import Apply, Making, Rebuildable
from chatledger.dead_letters import dead_letter
from chatledger.errors import ConfigurationError, InvariantViolated, OutsideUnavailable
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger_outreach.assembly import set_up_database
from chatledger_outreach.rebuild import REBUILDABLES
from tests.support.ledger import open_ledger
from tests.support.outreach import PROJECTS, order
from tests.support.rebuilding import execute, leftovers, likeness_of, remake, rows_of

pytestmark = pytest.mark.postgres
CLIENTS = REBUILDABLES[0]

KILLED = """
import asyncio, os, sys
from chatledger_outreach import rebuild_clients
from chatledger_outreach.rebuild import REBUILDABLES
from tests.support.outreach import PROJECTS
from tests.support.rebuilding import remake

async def die(*_):
    os.kill(os.getpid(), 9)

rebuild_clients.Noting.apply = die if sys.argv[2] == "filling" else rebuild_clients.Noting.apply
if sys.argv[2] == "switching":
    from chatledger.adapters.rebuilding.shadow_tables import ShadowTables
    ShadowTables.keep_readers_out = die
asyncio.run(remake(sys.argv[1], REBUILDABLES[0], PROJECTS))
"""


async def three_orders(url: str, *, handled: int = 3) -> None:
    """A history of three orders, of which outreach has handled some; its tables are empty all the same."""
    await set_up_database(url)
    async with open_ledger(url) as ledger:
        await ledger.append(
            [recorded(order(id=f"ord-{number}"), topic=topics.BILLING, offset=number) for number in range(3)]
        )
    await execute(url, f"INSERT INTO outreach.positions VALUES ('tests', 'chat.billing', 0, {handled})")


@pytest.mark.parametrize("moment", ["filling", "switching"])
async def test_a_rebuild_that_is_killed_leaves_everything_as_it_was(postgres_url: str, moment: str) -> None:
    await three_orders(postgres_url)
    before = await rows_of(postgres_url, CLIENTS), await likeness_of(postgres_url, CLIENTS)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, postgres_url, moment)
    assert await killed.wait() == -9
    assert (await rows_of(postgres_url, CLIENTS), await likeness_of(postgres_url, CLIENTS)) == before
    assert await leftovers(postgres_url) == 1, "it had begun"
    assert (await remake(postgres_url, CLIENTS, PROJECTS)).events == 3
    assert len((await rows_of(postgres_url, CLIENTS))["orders"]) == 3
    assert await leftovers(postgres_url) == 0


async def test_rights_comments_and_settings_of_tables_stay(postgres_url: str) -> None:
    await three_orders(postgres_url)
    role = f"analyst_{postgres_url.rpartition('_')[2]}"
    await execute(
        postgres_url,
        f"CREATE ROLE {role}",
        f"GRANT SELECT ON outreach.orders TO {role} WITH GRANT OPTION",
        f"GRANT UPDATE (status) ON outreach.orders TO {role}",
        "GRANT SELECT ON outreach.clients TO PUBLIC",
        "COMMENT ON TABLE outreach.orders IS 'It''s what we sell'",
        "COMMENT ON COLUMN outreach.orders.status IS 'How it stands'",
        "ALTER TABLE outreach.orders SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)",
        "CREATE INDEX own_index ON outreach.orders (lower(number)) WHERE status <> 'cancelled'",
        f"ALTER TABLE outreach.invoices OWNER TO {role}",
    )
    before = await likeness_of(postgres_url, CLIENTS)
    assert "fillfactor" in str(before)
    await remake(postgres_url, CLIENTS, PROJECTS)
    assert await likeness_of(postgres_url, CLIENTS) == before


async def test_a_user_who_does_not_own_the_tables_is_told_so(postgres_url: str) -> None:
    await three_orders(postgres_url)
    name = f"guest_{postgres_url.rpartition('_')[2]}"
    await execute(
        postgres_url,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE chatledger_reader",
        f"GRANT USAGE ON SCHEMA outreach TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA outreach TO {name}",
    )
    guest = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="x")
    with pytest.raises(ConfigurationError, match=r"may not rebuild outreach\.clients .*: name the owner of its tables"):
        await remake(guest, CLIENTS, PROJECTS)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE VIEW mine AS SELECT * FROM outreach.orders", "the view mine reads outreach.orders"),
        (
            "CREATE TABLE mine (id text REFERENCES outreach.orders (id))",
            "the table mine has a foreign key on outreach.orders",
        ),
        (
            "CREATE TRIGGER mine BEFORE UPDATE ON outreach.stock FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "the trigger mine is on outreach.stock",
        ),
        ("CREATE PUBLICATION mine FOR TABLE outreach.clients", "the publication mine has outreach.clients"),
    ],
    ids=["view", "foreign key", "trigger", "publication"],
)
async def test_what_would_be_lost_with_a_table_is_named(postgres_url: str, statement: str, said: str) -> None:
    await three_orders(postgres_url)
    await execute(postgres_url, statement)
    with pytest.raises(ConfigurationError, match=said):
        await remake(postgres_url, CLIENTS, PROJECTS)
    assert await leftovers(postgres_url) == 0


async def test_a_reader_or_a_writer_who_stays_is_waited_for_and_then_named(postgres_url: str) -> None:
    await three_orders(postgres_url)
    for statement in ("SELECT FROM outreach.orders", "UPDATE outreach.stock SET in_stock = 0"):
        async with await psycopg.AsyncConnection.connect(postgres_url) as somebody:
            await somebody.execute(statement.encode())
            with pytest.raises(OutsideUnavailable, match="is as it was: canceling statement due to lock timeout"):
                await remake(postgres_url, CLIENTS, PROJECTS, patience_s=1)
    assert (await remake(postgres_url, CLIENTS, PROJECTS)).events == 3


async def test_tables_that_a_new_release_changed_meanwhile_are_not_replaced(postgres_url: str) -> None:
    await three_orders(postgres_url)

    async def migrated(connection: Connection, events: Sequence[LedgerEvent]) -> None:
        await execute(postgres_url, "INSERT INTO outreach.migrations (name, script) VALUES ('9999_new.sql', '')")

    with pytest.raises(ConfigurationError, match="were changed meanwhile: rebuild once more"):
        await remake(postgres_url, making(migrated), PROJECTS)


async def test_a_database_of_an_older_release_is_said(postgres_url: str) -> None:
    await three_orders(postgres_url)
    await execute(postgres_url, "ALTER TABLE ledger.positions DROP COLUMN since")
    with pytest.raises(ConfigurationError, match="start the services once"):
        await remake(postgres_url, CLIENTS, PROJECTS)


async def test_what_the_service_put_aside_is_put_aside_and_anything_else_ends_it(postgres_url: str) -> None:
    await three_orders(postgres_url)

    async def fails(connection: Connection, events: Sequence[LedgerEvent]) -> None:
        if any(event.source_offset == 1 for event in events):
            raise ValueError("it cannot be taken")
        await CLIENTS.begin(PROJECTS).apply(connection, events)

    with pytest.raises(InvariantViolated, match=r"order\.created at position 2 cannot be taken into outreach\.clients"):
        await remake(postgres_url, making(fails), PROJECTS)
    bad = order(id="ord-1")
    record = recorded(bad, topic=topics.BILLING, offset=1)
    letter = dead_letter(record, "odd", service="outreach", incarnation="tests", now=bad.time, cause=bad)
    async with open_ledger(postgres_url) as ledger:
        await ledger.append([recorded(letter, topic=topics.DEAD)])
    outcome = await remake(postgres_url, making(fails), PROJECTS)
    assert (outcome.events, outcome.put_aside) == (2, 1)
    assert [each["id"] for each in (await rows_of(postgres_url, CLIENTS))["orders"]] == ["ord-0", "ord-2"]


def making(apply: Apply) -> Rebuildable:
    """The read model, with another way to take events in."""

    def begin(projects: Mapping[str, Project]) -> Making:
        return replace(CLIENTS.begin(PROJECTS), apply=apply)

    return replace(CLIENTS, begin=begin)


async def test_lives_that_were_recorded_before_they_were_told_apart_are_told_by_their_offsets(
    postgres_url: str,
) -> None:
    await two_lives(postgres_url)
    await execute(
        postgres_url,
        "DROP TRIGGER positions_note_incarnation ON ledger.positions",
        "DROP FUNCTION ledger.note_incarnation",
        "ALTER TABLE ledger.positions DROP COLUMN after_position, DROP COLUMN since",
        "DELETE FROM ledger.migrations WHERE name = '0003_incarnations.sql'",
    )
    assert await migrate(postgres_url, schema="ledger", package="chatledger_ledger") == ["0003_incarnations.sql"]
    assert await lives(postgres_url) == [("first", 0, 5), ("second", 5, 2)]


async def test_a_life_of_the_broker_begins_after_what_was_recorded_before(postgres_url: str) -> None:
    await two_lives(postgres_url)
    assert await lives(postgres_url) == [("first", 0, 5), ("second", 5, 2)]


async def two_lives(url: str) -> None:
    """Five orders on a broker, and two on the one that followed it."""
    for incarnation, count in (("first", 5), ("second", 2)):
        async with open_ledger(url, incarnation=incarnation) as ledger:
            for number in range(count):
                envelope = order(id=f"{incarnation}-{number}")
                await ledger.append([recorded(envelope, topic=topics.BILLING, offset=number)])


async def lives(url: str) -> list[tuple[str, int, int]]:
    """The lives of the broker, after which position each began, and how far it was recorded."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        query = "SELECT incarnation, after_position, next_offset FROM ledger.positions ORDER BY after_position"
        return await (await connection.execute(query)).fetchall()
