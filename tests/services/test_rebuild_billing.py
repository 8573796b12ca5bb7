"""Orders and invoices made anew from the ledger, while the relay and readers of the API are at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.errors import ConfigurationError, InvariantViolated, OutsideUnavailable
from chatledger_billing.app import Billing, set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.orders import OrderStatus
from chatledger_billing.read_model import ReadModel
from chatledger_billing.rebuild import REBUILDABLES
from chatledger_billing.store import postgres_store
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    billing_on,
    cause,
    order_records,
    placed,
    record,
    relay_all,
    unpriced,
)
from tests.support.ledger import open_ledger
from tests.support.rebuilding import (
    RecordingPublisher,
    check,
    execute,
    leftovers,
    likeness_of,
    remake,
    rows_of,
)

pytestmark = pytest.mark.postgres
[MODEL] = REBUILDABLES


@asynccontextmanager
async def at_work(url: str) -> AsyncIterator[tuple[Billing, RecordingPublisher]]:
    """Billing over a ledger that records what it publishes."""
    await set_up_database(url)
    async with open_ledger(url) as ledger:
        publisher = RecordingPublisher(ledger)
        with billing_on(postgres_store(url), publisher) as billing:  # type: ignore[arg-type]  # it is a Publisher too
            yield billing, publisher


async def eventful(billing: Billing, url: str) -> None:
    """Orders that were paid, refunded, voided, cancelled, moved on, and one without a price."""
    last = record(cause(unpriced(placed(7)), 7), 6)
    await billing.biller.handle([*order_records(range(1, 7)), last])
    await relay_all(billing, url)
    orders = {client: placed(client).order_id for client in range(1, 8)}
    async with BillingCommands(url, PROJECTS, clock=ManualClock(NOON)) as commands:
        for client, amount in ((1, 75_000), (2, 75_000), (3, 10_000)):
            invoice = invoice_id_of(orders[client])
            await commands.pay(
                invoice, reference=f"upi-{client}", amount_minor=amount, method="upi", paid_at=None, by="test"
            )
        refunded = invoice_id_of(orders[2])
        await commands.refund(refunded, reference="back", amount_minor=5_000, reason="broken", by="test")
        await commands.void(invoice_id_of(orders[4]), reason="typing error", by="test")
        await commands.cancel(orders[5], reason="out of stock", by="test")
        await commands.advance(orders[1], to=OrderStatus.PROCESSING, by="test")
    await relay_all(billing, url)


async def test_what_was_damaged_is_as_it_was(postgres_url: str) -> None:
    async with at_work(postgres_url) as (billing, _):
        await eventful(billing, postgres_url)
    good, like = await rows_of(postgres_url, MODEL), await likeness_of(postgres_url, MODEL)
    statuses = sorted(each["status"] for each in good["invoices"])
    assert statuses == ["issued", "paid", "partly_paid", "partly_paid", "void", "void"], "every kind is there"
    assert await check(postgres_url, MODEL, PROJECTS) == []
    first, second = placed(1).order_id, placed(2).order_id
    await execute(
        postgres_url,
        f"DELETE FROM billing.orders WHERE id = '{first}'",
        f"UPDATE billing.orders SET status = 'draft', total_minor = 1 WHERE id = '{second}'",
        "UPDATE billing.invoices SET paid_minor = 0, payments = '[]' WHERE status = 'paid'",
        "INSERT INTO billing.orders SELECT 'ghost', number, project, conversation, status, version, lines, currency,"
        f" total_minor, placed_at, updated_at, 999, client_id FROM billing.orders WHERE id = '{second}'",
    )
    paid = invoice_id_of(first)
    assert sorted(await check(postgres_url, MODEL, PROJECTS)) == sorted(
        [
            ("billing.invoices", (paid,), "different"),
            ("billing.orders", (first,), "missing"),
            ("billing.orders", (second,), "different"),
            ("billing.orders", ("ghost",), "needless"),
        ]
    )
    assert await rows_of(postgres_url, MODEL) != good, "a check changes nothing"
    for _ in range(2):
        outcome = await remake(postgres_url, MODEL, PROJECTS)
        assert (outcome.rows, outcome.comparison) == (13, None)
        assert await rows_of(postgres_url, MODEL) == good
        assert await likeness_of(postgres_url, MODEL) == like
        assert await leftovers(postgres_url) == 0


async def test_nothing_is_lost_or_doubled_while_orders_come_in_and_readers_read(postgres_url: str) -> None:
    clients, seen = 60, list[int]()
    async with at_work(postgres_url) as (billing, _):
        await eventful(billing, postgres_url)
        relay = asyncio.create_task(billing.relay.run(postgres_url))
        done = asyncio.Event()

        async def orders_come_in() -> None:
            for client in range(8, 8 + clients):
                await billing.biller.handle([record(cause(placed(client), client), client)])
                await asyncio.sleep(0.02)
            done.set()

        async def read() -> None:
            wanted: dict[str, Any] = {"project": None, "status": None, "before": None, "limit": 500}
            async with ReadModel(postgres_url) as read_model:
                while not done.is_set():
                    orders = await read_model.list_orders(**wanted)
                    invoices = await read_model.list_invoices(overdue_before=None, client=None, **wanted)
                    assert len(invoices) in range(len(orders) - 1, len(orders) + 20), "both are of one moment"
                    seen.append(len(orders))
                    await asyncio.sleep(0)

        async def rebuild_over_and_over() -> list[float]:
            held = []
            while not done.is_set():
                held.append((await remake(postgres_url, MODEL, PROJECTS)).locked_ms)
            return held

        _, _, _, held = await asyncio.gather(orders_come_in(), read(), read(), rebuild_over_and_over())
        billing.relay.close()
        await relay
    assert len(held) > 1
    assert max(held) < 1_000
    assert min(seen) >= 7, "never an empty page, never half of one"
    assert seen[-1] > 7, "orders came in meanwhile"
    rows = await rows_of(postgres_url, MODEL)
    assert {each["id"] for each in rows["orders"]} == {placed(client).order_id for client in range(1, 8 + clients)}
    assert len(rows["orders"]) == 7 + clients
    assert len(rows["invoices"]) == 6 + clients
    assert await check(postgres_url, MODEL, PROJECTS) == []


async def test_what_is_published_and_not_laid_down_yet_is_not_in_it(postgres_url: str) -> None:
    async with at_work(postgres_url) as (billing, _):
        await billing.biller.handle(order_records([1]))
        await relay_all(billing, postgres_url)
        await execute(
            postgres_url, "UPDATE billing.relay SET position = 0", "TRUNCATE billing.orders, billing.invoices"
        )
        assert await check(postgres_url, MODEL, PROJECTS) == []
        assert (await remake(postgres_url, MODEL, PROJECTS)).rows == 0
        await relay_all(billing, postgres_url)
        assert [each["status"] for each in (await rows_of(postgres_url, MODEL))["orders"]] == ["confirmed"]
        assert await check(postgres_url, MODEL, PROJECTS) == []


async def test_a_ledger_that_lags_is_waited_for(postgres_url: str) -> None:
    async with at_work(postgres_url) as (billing, publisher):
        await eventful(billing, postgres_url)
        good = await rows_of(postgres_url, MODEL)
        publisher.is_held = True
        await billing.biller.handle([record(cause(placed(8), 8), 8)])
        await relay_all(billing, postgres_url)
        with pytest.raises(OutsideUnavailable, match=r"it lacks 3 events that billing decided.* longer with --wait"):
            await remake(postgres_url, MODEL, PROJECTS, patience_s=0.5)
        assert await leftovers(postgres_url) == 0
        assert len((await rows_of(postgres_url, MODEL))["orders"]) == len(good["orders"]) + 1
        running = asyncio.create_task(remake(postgres_url, MODEL, PROJECTS))
        await asyncio.sleep(0.3)
        assert not running.done()
        await publisher.let_go()
        assert (await running).rows == 15


async def test_another_rebuild_at_work_and_a_history_of_somebody_else_are_said(postgres_url: str) -> None:
    async with at_work(postgres_url) as (billing, publisher):
        publisher.is_held = True
        await billing.biller.handle(order_records([1]))
        await relay_all(billing, postgres_url)
        running = asyncio.create_task(remake(postgres_url, MODEL, PROJECTS))
        await asyncio.sleep(0.3)
        with pytest.raises(ConfigurationError, match="another rebuild is at work"):
            await remake(postgres_url, MODEL, PROJECTS)
        await publisher.let_go()
        await running
    await execute(postgres_url, "DELETE FROM billing.aggregate_events")
    with pytest.raises(InvariantViolated, match="which billing's own events do not: they are not of one history"):
        await remake(postgres_url, MODEL, PROJECTS)
    assert len((await rows_of(postgres_url, MODEL))["orders"]) == 1
