"""The read model's tables: brought up to date from the first version, and written in any order, any number of times."""

from __future__ import annotations

import random
from importlib.resources import files

import psycopg
import pytest
from psycopg.rows import dict_row

from chatledger.adapters.clock import ManualClock
from chatledger_billing.app import set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.projection import project
from chatledger_billing.read_model import ReadModel
from chatledger_billing.snapshots import follow
from chatledger_billing.store import postgres_store
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    RememberedPublisher,
    billing_on,
    order_records,
    placed,
    relay_all,
    writer_on,
)

pytestmark = pytest.mark.postgres
ORDER, INVOICE = placed(1).order_id, invoice_id_of(placed(1).order_id)


async def rows(url: str, table: str) -> list[dict]:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        query = f"SELECT * FROM billing.{table} ORDER BY id".encode()
        return await (await connection.execute(query)).fetchall()


async def a_life(url: str) -> None:
    """One order that is paid in parts, partly refunded, processed and cancelled; another one that is left alone."""
    await set_up_database(url)
    with billing_on(postgres_store(url), RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1, 2]))
    async with BillingCommands(url, PROJECTS, clock=ManualClock(NOON)) as commands:
        for reference in ("a", "b"):
            await commands.pay(INVOICE, reference=reference, amount_minor=30_000, method="upi", paid_at=None, by="test")
        await commands.refund(INVOICE, reference="c", amount_minor=10_000, reason="damaged", by="test")
        await commands.advance(ORDER, to=None, by="test")
        await commands.cancel(ORDER, reason="out of stock", by="test")


async def test_an_older_version_never_comes_back_over_a_newer_one(postgres_url: str) -> None:
    await a_life(postgres_url)
    store, chance = postgres_store(postgres_url), random.Random(4)
    log = store.follow(0, 1_000)

    def read_stream(name: str, until: int):
        return store.stream(name, until=until)

    pieces = [log[:split] for split in range(1, len(log) + 1)] + [log[split:] for split in range(len(log))]
    changes = [project(follow(piece, read_stream)) for piece in pieces]
    async with writer_on(postgres_url) as writer:
        await writer.save(changes[len(log) - 1], 1)
        final = [await rows(postgres_url, table) for table in ("orders", "invoices")]
        for change in chance.sample(changes, k=len(changes)):
            await writer.save(change, 1)
        assert [await rows(postgres_url, table) for table in ("orders", "invoices")] == final
        for table in ("orders", "invoices"):
            await writer._connection.execute(f"TRUNCATE billing.{table}".encode())
        for each in log:
            await writer.save(project(follow([each], read_stream)), 1)
        assert [await rows(postgres_url, table) for table in ("orders", "invoices")] == final
    store.close()
    (order,) = [each for each in final[0] if each["id"] == ORDER]
    (invoice,) = [each for each in final[1] if each["id"] == INVOICE]
    assert (order["status"], order["reason"], order["version"]) == ("cancelled", "out of stock", 4)
    assert (invoice["status"], invoice["paid_minor"], invoice["version"]) == ("void", 50_000, 5)


async def test_tables_of_the_first_version_are_brought_up_to_date(postgres_url: str) -> None:
    """What the first version laid down is what today's relay would have, so that nothing has to be laid down again."""
    await a_life_of_the_first_version(postgres_url)
    await set_up_database(postgres_url)
    async with ReadModel(postgres_url) as read_model:
        (invoice,) = await read_model.find_invoices("INV-2026-000001", None)
        assert (invoice["subtotal_minor"], invoice["paid_minor"], invoice["payments"]) == (75_000, 0, [])
        assert (invoice["client_id"], invoice["number_of_order"]) == ("1/2", "7QK2-M0XF")
        priced, free = await read_model.list_orders(project=None, status=None, before=None, limit=5)
        assert (priced["tax_minor"], priced["subtotal_minor"], priced["client_id"]) == (0, 75_000, "1/2")
        assert (free["tax_minor"], free["subtotal_minor"]) == (None, None)
    async with writer_on(postgres_url) as writer:
        assert (await writer.position(), await writer.reported()) == (9, 9)
    with billing_on(postgres_store(postgres_url), RememberedPublisher()) as billing:
        await relay_all(billing, postgres_url)


async def a_life_of_the_first_version(url: str) -> None:
    script = files("chatledger_billing.migrations").joinpath("0001_read_model.sql").read_text("utf-8")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in (
            "CREATE SCHEMA billing",
            "CREATE TABLE billing.migrations (name text PRIMARY KEY, script text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())",
            script,
            "INSERT INTO billing.relay VALUES ('chat.billing', 9)",
            "INSERT INTO billing.orders VALUES"
            " ('o1', '7QK2-M0XF', 'order-form', 'order-form/chat2desk/1/2', 'confirmed', 2, '[]', 'INR',"
            " 75000, '2026-11-21T12:00Z', '2026-11-21T12:00Z', 5),"
            " ('o2', '7QK2-M0XG', 'order-form', 'order-form/chat2desk/3', 'confirmed', 2, '[]', NULL, NULL,"
            " '2026-11-21T12:00Z', '2026-11-21T12:00Z', 1)",
            "INSERT INTO billing.invoices VALUES"
            " ('i1', 'INV-2026-000001', 'order-form', 'o1', 'order-form/chat2desk/1/2', 'issued', 1, '[]', 'INR',"
            " 75000, '2026-11-21', '2026-12-05')",
        ):
            await connection.execute(statement.encode())
        await connection.execute(
            "INSERT INTO billing.migrations (name, script) VALUES (%s, %s)", ("0001_read_model.sql", script)
        )


async def test_a_connection_that_postgres_closed_is_found_before_a_command_uses_it(postgres_url: str) -> None:
    await a_life(postgres_url)
    async with BillingCommands(postgres_url, PROJECTS) as commands:
        await commands.advance(placed(2).order_id, to=None, by="test")
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        changed = await commands.advance(placed(2).order_id, to=None, by="test")
    assert [each.event.type for each in changed.order][-2:] == ["order.advanced", "order.advanced"]


async def test_a_history_is_never_ahead_of_its_row(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    with billing_on(postgres_store(postgres_url), RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        await relay_all(billing, postgres_url)
    async with BillingCommands(postgres_url, PROJECTS) as commands, ReadModel(postgres_url) as read_model:
        await commands.advance(ORDER, to=None, by="test")
        (row,) = await read_model.find_orders(ORDER, None)
        history = await read_model.history(f"order-{ORDER}", row["version"])
        assert (row["status"], [each.event.type for each in history]) == (
            "confirmed",
            ["order.created", "order.confirmed"],
        )


async def test_each_filter_has_a_plan_of_its_own(postgres_url: str) -> None:
    """After a few times Postgres would plan for any filter alike, and walk the whole table for one client's orders."""
    await set_up_database(postgres_url)
    async with ReadModel(postgres_url) as read_model:
        await read_model.find_orders("none", None)
        pool = read_model._pool
        assert pool is not None
        async with pool.connection() as connection:
            asked = await connection.execute("SELECT current_setting('plan_cache_mode')")
            assert await asked.fetchone() == ("force_custom_plan",)
