"""What history shows of orders and invoices is what billing's read model shows, and showed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from chatledger import topics
from chatledger.adapters.clock import ManualClock
from chatledger_billing.app import set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.read_model import ReadModel
from chatledger_billing.store import postgres_store
from chatledger_cli.kinds import numbers_at, numbers_in
from chatledger_ledger.moments import Moment
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    RememberedPublisher,
    billing_on,
    cancellation,
    cause,
    order_records,
    placed,
    record,
    relay_all,
    unpriced,
)
from tests.support.ledger import as_records, open_ledger
from tests.support.time_travel import time_travel

pytestmark = pytest.mark.postgres
ORDERS = [placed(client).order_id for client in range(1, 6)]
Rows = dict[tuple[str, str], Any]


class Shop:
    """Billing and the ledger on one database; after each step it is relayed and recorded, and the rows are kept."""

    def __init__(self, url: str) -> None:
        self.url, self.publisher = url, RememberedPublisher()
        self.seen: list[tuple[int, Rows]] = []

    async def stepped(self) -> None:
        """Lay down and record what is new; note what the read model has at the ledger's position."""
        with billing_on(postgres_store(self.url), self.publisher) as billing:
            await relay_all(billing, self.url)
        async with open_ledger(self.url) as ledger:
            await ledger.append(as_records((topics.BILLING, each) for each in self.publisher.on(topics.BILLING)))
            self.seen.append((await ledger.last_position(), await rows(self.url)))


async def rows(url: str) -> Rows:
    """The read model whole, as JSON has it."""
    found: Rows = {}
    connecting = psycopg.AsyncConnection.connect(url, row_factory=dict_row, options="-c timezone=UTC")
    async with await connecting as connection:
        for kind in ("order", "invoice"):
            table = sql.Identifier("billing", f"{kind}s")
            for row in await (await connection.execute(sql.SQL("SELECT * FROM {}").format(table))).fetchall():
                del row["position"]
                written = orjson.dumps(row, option=orjson.OPT_UTC_Z)
                # What lies in a column as JSON has its times as they were written there.
                found[kind, row["id"]] = orjson.loads(written.replace(b"+00:00", b"Z"))
    return found


async def billed(url: str) -> Shop:
    """A shop in which everything happens to orders and invoices that can."""
    await set_up_database(url)
    shop, clock = Shop(url), ManualClock(NOON)
    with billing_on(postgres_store(url), shop.publisher) as billing:
        await billing.biller.handle([*order_records(range(1, 5)), record(cause(unpriced(placed(5)), 5), 4)])
    await shop.stepped()
    with billing_on(postgres_store(url), shop.publisher) as billing:
        await billing.biller.handle([record(cause(cancellation(4), 4), 5)])
    await shop.stepped()
    async with BillingCommands(url, PROJECTS, clock=clock) as commands:
        for _ in range(2):
            clock.time += timedelta(hours=1)
            await commands.advance(ORDERS[0], to=None, by="test")
            await shop.stepped()
        invoice = invoice_id_of(ORDERS[1])
        for reference, amount in (("a", 25_000), ("b", 50_000)):
            await commands.pay(invoice, reference=reference, amount_minor=amount, method="upi", paid_at=None, by="test")
            await shop.stepped()
        await commands.refund(invoice, reference="back", amount_minor=100, reason="kind", by="test")
        await shop.stepped()
        await commands.void(invoice_id_of(ORDERS[2]), reason="wrong", by="test")
        await shop.stepped()
    return shop


async def test_at_each_moment_it_is_what_the_read_model_had_then(postgres_url):
    shop = await billed(postgres_url)
    ever = shop.seen[-1][1].keys()
    assert len(ever) == 9
    assert {row["status"] for row in shop.seen[-1][1].values()} == {
        "cancelled",
        "confirmed",
        "issued",
        "partly_paid",
        "shipped",
        "void",
    }
    async with time_travel(postgres_url) as travel:
        for position, then in shop.seen:
            for kind, name in ever:
                known = await travel.state(kind, name, Moment(position=position))
                assert known is not None
                assert known.state == then.get((kind, name)), (kind, position)


async def test_numbers_are_found_in_the_read_model(postgres_url):
    await billed(postgres_url)
    async with ReadModel(postgres_url) as read_model, time_travel(postgres_url, numbers_in(read_model)) as travel:
        assert await travel.find("invoice", "INV-2026-000001") == [invoice_id_of(ORDERS[0])]
        assert await travel.find("invoice", "INV-2026-000001", project="order-form") == [invoice_id_of(ORDERS[0])]
        assert await travel.find("invoice", "INV-2026-000001", project="other") == []
        assert await travel.find("invoice", "INV-2026-009999") == []
    assert await numbers_at(postgres_url)("order", placed(2).order_number, None) == [ORDERS[1]]
    assert await numbers_at(postgres_url)("conversation", "INV-2026-000001", None) == []


async def test_where_billing_is_not_set_up_no_number_is_known(postgres_url):
    assert await numbers_at(postgres_url)("invoice", "INV-2026-000001", None) == ()
    await set_up_database(postgres_url)
    name = f"analyst_{postgres_url.rpartition('_')[2]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
    analysts = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="x")
    assert await numbers_at(analysts)("invoice", "INV-2026-000001", None) == ()
