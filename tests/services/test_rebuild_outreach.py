"""What outreach knows of clients, its reminders and campaigns, made anew from the ledger while it is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest

from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.events import cart, dialog, inbound, orders
from chatledger.events.envelope import Envelope, conversation_id
from chatledger.events.inventory import InventoryUpdated
from chatledger.topics import BILLING, DIALOG, INBOUND, INVENTORY, OUTREACH
from chatledger_outreach.app import OutreachService
from chatledger_outreach.campaign_commands import Campaigns
from chatledger_outreach.campaigns import Draft
from chatledger_outreach.desk import Desk, ReminderRequest, Target
from chatledger_outreach.rebuild import REBUILDABLES
from tests.support.ledger import open_ledger
from tests.support.outreach import CLIENT, NOW, PROJECTS, Line, handled, invoice, order, settled, told, worker
from tests.support.rebuilding import Recorder, check, execute, leftovers, likeness_of, remake, rows_of

pytestmark = pytest.mark.postgres
CLIENTS, REMINDERS, CAMPAIGNS = REBUILDABLES
OTHER = conversation_id("store", "twilio", "+447700900001")
SKU = "CEM"


def message(key: str, number: int, *, name: str | None = None) -> Envelope:
    event = inbound.MessageReceived(
        channel="twilio",
        client_id=key.split("/", 2)[2],
        provider_message_id=f"SM{number}",
        text="hi",
        reply_to={},
        raw={},
        client_name=name,
    )
    return told(event, key=key, time=NOW + timedelta(minutes=number), number=number + 100)


def refused(key: str, number: int, *, minutes: int) -> Envelope:
    line = cart.RefusedLine(text="100 cement", reason="out_of_stock", sku=SKU, in_stock=0)
    event = cart.ItemsRefused(lines=(line,))
    return told(event, key=key, time=NOW + timedelta(minutes=minutes), number=number)


def stock(amount: int, number: int, *, minutes: int) -> Envelope:
    time = NOW + timedelta(minutes=minutes)
    event = InventoryUpdated(sku=SKU, price_minor=5_000, stock=amount, fetched_at=time)
    key, stream = f"store/inventory/{SKU}", f"inventory-store-{SKU}"
    return told(event, key=key, stream=stream, time=time, number=number)


@asynccontextmanager
async def at_work(url: str) -> AsyncIterator[tuple[OutreachService, Line, Recorder]]:
    """Outreach, a broker, and a ledger that records what is on it."""
    line = Line()
    async with (
        worker(url, line) as service,
        open_ledger(url, incarnation="test") as ledger,
        Recorder.at_work(line.broker, ledger) as recorder,
    ):
        yield service, line, recorder


async def eventful(service: OutreachService, line: Line) -> None:
    """Clients who say, order, cancel, pay, opt out, wish for what there is not, and are tagged."""
    line.tell(INBOUND, message(CLIENT, 1, name="Asha"), message(OTHER, 2), message(CLIENT, 3))
    line.tell(DIALOG, told(dialog.ConversationStarted(flow="store", language="ru")))
    line.tell(DIALOG, told(dialog.ClientOptedOut(), key=OTHER), told(dialog.ClientOptedIn(), number=1))
    line.tell(BILLING, order(), order(id="ord-2", quantity=10), order(id="ord-3", key=OTHER, quantity=7))
    cancelled = dialog.OrderCancelled(reason="client", order_id="ord-2")
    line.tell(BILLING, told(cancelled, stream="order-ord-2", number=2))
    line.tell(BILLING, told(orders.OrderAdvanced(order_id="ord-1", status="shipped"), stream="order-ord-1", number=3))
    line.tell(
        BILLING,
        *(invoice(due_on=date(2026, 12, 5), id=f"inv-{number}") for number in (1, 2, 3)),
        told(orders.InvoicePaid(invoice_id="inv-1"), stream="invoice-inv-1", number=2),
        told(
            orders.InvoiceVoided(invoice_id="inv-2", credit_note="CN-1", reason="wrong"),
            stream="invoice-inv-2",
            number=2,
        ),
    )
    await handled(service, line)
    line.tell(DIALOG, refused(CLIENT, 20, minutes=4))
    await handled(service, line)
    line.tell(INVENTORY, stock(50, 1, minutes=5), stock(0, 2, minutes=6))
    await handled(service, line)
    line.tell(DIALOG, refused(OTHER, 20, minutes=7), refused(CLIENT, 21, minutes=8))
    await handled(service, line)
    await Desk(service.outreach).tag(CLIENT, ("vip", "wholesale"), "store")
    await Desk(service.outreach).tag(CLIENT, ("vip",), "store")


async def all_recorded(service: OutreachService, line: Line, recorder: Recorder) -> None:
    """Wait until everything is published and recorded."""

    async def published() -> bool:
        async with service.outreach.pool.connection() as connection:
            query = "SELECT count(*) FROM outreach.events WHERE published_at IS NULL"
            row = await (await connection.execute(query)).fetchone()
            return row == (0,)

    await settled(service, published, "everything is published")
    await recorder.catch_up()
    await handled(service, line)


async def test_clients_orders_invoices_and_wishes_are_as_they_were(postgres_url: str) -> None:
    async with at_work(postgres_url) as (service, line, recorder):
        await eventful(service, line)
        await all_recorded(service, line, recorder)
        good, like = await rows_of(postgres_url, CLIENTS), await likeness_of(postgres_url, CLIENTS)
        assert {each: len(rows) for each, rows in good.items()} == {
            "clients": 2, "orders": 3, "invoices": 3, "wishes": 2, "stock": 1
        }  # fmt: skip
        assert [(each["conversation"], each["told"]) for each in good["wishes"]] == [(OTHER, False), (CLIENT, True)]
        asha = next(each for each in good["clients"] if each["conversation"] == CLIENT)
        assert (asha["orders"], asha["spend_minor"], asha["tags"], asha["tags_version"]) == (1, 500_000, ["vip"], 2)
        assert await check(postgres_url, CLIENTS, PROJECTS) == []
        events = len(line.on(OUTREACH))
        await execute(
            postgres_url,
            f"DELETE FROM outreach.clients WHERE conversation = '{CLIENT}'",
            f"UPDATE outreach.clients SET spend_minor = 1, opted_out = false WHERE conversation = '{OTHER}'",
            "DELETE FROM outreach.orders WHERE id = 'ord-1'",
            "UPDATE outreach.invoices SET status = 'issued'",
            "UPDATE outreach.wishes SET told = NOT told",
            "TRUNCATE outreach.stock",
        )
        assert len(await check(postgres_url, CLIENTS, PROJECTS)) == 8
        with pytest.raises(
            ConfigurationError, match="clients of store, and no project file of that name has a section"
        ):
            await remake(postgres_url, CLIENTS, {})
        for _ in range(2):
            await remake(postgres_url, CLIENTS, PROJECTS)
            assert await rows_of(postgres_url, CLIENTS) == good
            assert await likeness_of(postgres_url, CLIENTS) == like
        await all_recorded(service, line, recorder)
        assert len(line.on(OUTREACH)) == events, "no reminder came of it"


async def test_nothing_is_lost_or_doubled_while_clients_order_and_are_tagged(postgres_url: str) -> None:
    keys = [conversation_id("store", "twilio", f"+9199111{number:05}") for number in range(20)]
    rounds, done = 20, asyncio.Event()

    async with at_work(postgres_url) as (service, line, recorder):
        await eventful(service, line)
        desk = Desk(service.outreach)

        async def clients_order() -> None:
            for turn in range(rounds):
                for number, key in enumerate(keys):
                    line.tell(INBOUND, message(key, turn))
                    line.tell(BILLING, order(id=f"{number}-{turn}", key=key, quantity=1))
                    await asyncio.sleep(0.01)
                await desk.tag(CLIENT, (f"turn-{turn}",), "store")
            await handled(service, line)
            done.set()

        async def rebuild_over_and_over() -> list[float]:
            held = []
            while not done.is_set():
                held.append((await remake(postgres_url, CLIENTS, PROJECTS)).locked_ms)
            return held

        _, held = await asyncio.gather(clients_order(), rebuild_over_and_over())
        assert len(held) > 1
        await all_recorded(service, line, recorder)
        known = {each["conversation"]: each for each in (await rows_of(postgres_url, CLIENTS))["clients"]}
        assert {known[key]["orders"] for key in keys} == {rounds}
        assert {known[key]["spend_minor"] for key in keys} == {rounds * 5_000}
        assert known[CLIENT]["tags"] == [f"turn-{rounds - 1}"]
        assert await check(postgres_url, CLIENTS, PROJECTS) == []


async def test_what_was_recorded_and_not_handled_yet_is_not_in_it(postgres_url: str) -> None:
    async with at_work(postgres_url) as (service, line, recorder):
        line.tell(BILLING, order())
        await handled(service, line)
        await recorder.catch_up()
    async with open_ledger(postgres_url, incarnation="test") as ledger:
        line.tell(BILLING, order(id="ord-2"))
        await Recorder(line.broker, ledger).catch_up()
    assert (await remake(postgres_url, CLIENTS, PROJECTS)).events == 1
    assert [each["id"] for each in (await rows_of(postgres_url, CLIENTS))["orders"]] == ["ord-1"]
    async with worker(postgres_url, line) as service:
        await handled(service, line)
    assert [each["id"] for each in (await rows_of(postgres_url, CLIENTS))["orders"]] == ["ord-1", "ord-2"]


async def test_what_an_earlier_broker_had_counts_whatever_its_offset(postgres_url: str) -> None:
    async with at_work(postgres_url) as (service, line, recorder):
        for number in range(5):
            line.tell(BILLING, order(id=f"old-{number}"))
        await handled(service, line)
        await recorder.catch_up()
    line = Line()
    line.tell(BILLING, order(id="new-0"))
    async with open_ledger(postgres_url, incarnation="next") as ledger:
        await Recorder(line.broker, ledger).catch_up()
    assert await check(postgres_url, CLIENTS, PROJECTS) == [], "the next broker's event was not handled"
    line.tell(BILLING, order(id="new-1"))
    async with worker(postgres_url, line, incarnation="next") as service:
        await handled(service, line)
        async with open_ledger(postgres_url, incarnation="next") as ledger:
            await Recorder(line.broker, ledger).catch_up()
    good = await rows_of(postgres_url, CLIENTS)
    assert len(good["orders"]) == 7
    await remake(postgres_url, CLIENTS, PROJECTS)
    assert await rows_of(postgres_url, CLIENTS) == good


async def test_reminders_keep_their_numbers_and_those_that_were_lost_come_back_in_their_place(
    postgres_url: str,
) -> None:
    async with at_work(postgres_url) as (service, line, recorder):
        await eventful(service, line)
        desk = Desk(service.outreach)
        target = Target(client_id=CLIENT, order_id=None, invoice_id=None)
        for number in range(3):
            due = NOW + timedelta(days=number)
            request = ReminderRequest(id=f"by-hand-{number}", kind="CUSTOM", text="Hello", due=due, target=target)
            await desk.schedule(request, "store")
        await desk.cancel("by-hand-1", "store")

        async def is_due() -> bool:
            found = await desk.find("by-hand-0", "store")
            return found is not None and found[0]["status"] == "due"

        await settled(service, is_due, "the first is due at once")
        await all_recorded(service, line, recorder)
        good, like = await rows_of(postgres_url, REMINDERS), await likeness_of(postgres_url, REMINDERS)
        statuses = {each["status"] for each in good["reminders"]}
        assert {"scheduled", "cancelled", "due"} <= statuses
        assert await check(postgres_url, REMINDERS, PROJECTS) == []
        await execute(
            postgres_url,
            "DELETE FROM outreach.reminders WHERE id = 'by-hand-0'",
            "UPDATE outreach.reminders SET status = 'sent', version = 9 WHERE id = 'by-hand-1'",
        )
        await remake(postgres_url, REMINDERS, PROJECTS)
        assert await rows_of(postgres_url, REMINDERS) == good
        assert await likeness_of(postgres_url, REMINDERS) == like
        last = max(each["number"] for each in good["reminders"])
        request = ReminderRequest(id="later", kind="CUSTOM", text="Hello", due=NOW + timedelta(9), target=target)
        row = await desk.schedule(request, "store")
        assert row["id"] == "later"
        numbers = {each["id"]: each["number"] for each in (await rows_of(postgres_url, REMINDERS))["reminders"]}
        assert numbers["later"] > last
        await all_recorded(service, line, recorder)
        await execute(postgres_url, "TRUNCATE outreach.reminders")
        await remake(postgres_url, REMINDERS, PROJECTS)
        again = (await rows_of(postgres_url, REMINDERS))["reminders"]
        assert len(again) == len(good["reminders"]) + 1
        assert sorted(again, key=lambda each: each["number"])[-1]["id"] == "later", "they are in the order of history"


async def test_campaigns_stand_where_they_stood_and_go_on(postgres_url: str) -> None:
    async with at_work(postgres_url) as (service, line, recorder):
        await eventful(service, line)
        campaigns = Campaigns(service.outreach)
        draft = Draft(
            id="spring",
            project="store",
            name="Spring",
            kind="TRANSACTIONAL",
            message="Hello {{ name }}",
            audience={"type": "all"},
            rate_per_s=1,
            batch_size=1,
        )
        await campaigns.create(draft, start=False)
        await campaigns.command("spring", "start")
        await campaigns.command("spring", "pause")
        await all_recorded(service, line, recorder)
        good, like = await rows_of(postgres_url, CAMPAIGNS), await likeness_of(postgres_url, CAMPAIGNS)
        assert good["campaigns"][0]["status"] == "paused"
        assert await check(postgres_url, CAMPAIGNS, PROJECTS) == []
        await execute(postgres_url, "UPDATE outreach.campaigns SET status = 'draft', name = 'x', targeted = 0")
        await remake(postgres_url, CAMPAIGNS, PROJECTS)
        assert await rows_of(postgres_url, CAMPAIGNS) == good
        assert await likeness_of(postgres_url, CAMPAIGNS) == like
        await execute(postgres_url, "DELETE FROM outreach.campaigns")
        await remake(postgres_url, CAMPAIGNS, PROJECTS)
        [lost] = (await rows_of(postgres_url, CAMPAIGNS))["campaigns"]
        assert {**lost, "due_at": None} == {**good["campaigns"][0], "due_at": None}
        assert (await campaigns.command("spring", "resume")).campaign.status == "running"
        assert await leftovers(postgres_url) == 0
        assert isinstance(lost["due_at"], datetime)
        assert lost["due_at"].astimezone(UTC) <= NOW


async def test_a_ledger_that_lags_behind_is_waited_for_without_locking_anybody_out(postgres_url: str) -> None:
    line = Line()
    async with worker(postgres_url, line) as service, open_ledger(postgres_url, incarnation="test") as ledger:
        recorder = Recorder(line.broker, ledger)
        line.tell(BILLING, order())
        await recorder.catch_up()
        line.tell(BILLING, order(id="ord-2"))
        await handled(service, line)
        with pytest.raises(OutsideUnavailable, match=r"it is behind outreach on chat\.billing/\d by 1\. See that the"):
            await remake(postgres_url, CLIENTS, PROJECTS, patience_s=0.5)
        running = asyncio.create_task(remake(postgres_url, CLIENTS, PROJECTS))
        async with asyncio.timeout(10):
            for number in range(20):
                line.tell(INBOUND, message(CLIENT, number))
                await handled(service, line)
        assert not running.done()
        await recorder.catch_up()
        await running
        assert [each["id"] for each in (await rows_of(postgres_url, CLIENTS))["orders"]] == ["ord-1", "ord-2"]
