"""crm hands billing's orders to Zoho, each once and in order, and tells how it went: on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from chatledger import topics
from chatledger.events.dialog import OrderCancelled
from chatledger.events.inventory import OrderNotSynced, OrderSynced
from chatledger.events.letters import RecordDeadLettered
from chatledger.events.orders import OrderAdvanced, OrderLine
from chatledger_cli.provider_stand_in import Answer
from chatledger_cli.zoho_stand_in import COMES_THROUGH, ZohoStandIn
from tests.support.crm import CEMENT, ROD, billed, crm, order_of

pytestmark = pytest.mark.postgres

SHIPPED, CANCELLED = OrderAdvanced(order_id="", status="shipped"), OrderCancelled(order_id="", reason="client")
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def zoho() -> AsyncIterator[ZohoStandIn]:
    stand_in = await ZohoStandIn([CEMENT, ROD]).start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def worker(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        await worker.events()
        yield worker


async def test_an_order_is_saved_whole_and_then_moved(worker, zoho):
    placed = billed(SHIPPED)
    await worker.take_in(worker.records(placed))
    await worker.push()
    (order,), (account,) = zoho.orders, zoho.accounts
    cement, rod = zoho.products
    assert order == {
        "id": order["id"],
        "Subject": order_of(placed).order_number,
        "Status": "Approved",
        "Account_Name": {"id": account["id"]},
        "Ordered_Items": [
            {"Product_Name": {"id": cement["id"]}, "Quantity": 100, "List_Price": 50.00},
            {"Product_Name": {"id": rod["id"]}, "Quantity": 2, "List_Price": 550.25},
        ],
        "Discount": 660.05,
    }
    assert account["Account_Name"] == "+919900000001"
    told = await worker.envelopes()
    order_id = order_of(placed).order_id
    assert [each.data for each in told] == [
        OrderSynced(order_id=order_id, reference=order["id"], status=status)
        for status in ("draft", "confirmed", "shipped")
    ]
    assert [(each.stream, each.stream_version) for each in told] == [(f"crm-order-{order_id}", n) for n in (1, 2, 3)]
    assert [each.causation_id for each in told] == [each.id for each in placed]
    assert {each.conversation for each in told} == {f"store/crm/{order_id}"}


@pytest.mark.parametrize(
    ("last", "status"),
    [(OrderAdvanced(order_id="", status="delivered"), "Delivered"), (CANCELLED, "Cancelled"), (SHIPPED, "Approved")],
)
async def test_statuses_are_told_in_zohos_words(worker, zoho, last, status):
    await worker.take_in(worker.records(billed(last)))
    await worker.push()
    assert zoho.orders[0]["Status"] == status


async def test_what_is_read_twice_is_pushed_once(worker, zoho):
    records = worker.records(billed())
    await worker.take_in(records)
    await worker.take_in(records)
    await worker.take_in(worker.records(billed()))
    await worker.push()
    assert len(zoho.made("orders")) == 2
    assert len(await worker.events()) == 2


async def test_other_projects_and_other_events_ask_for_nothing(worker, zoho):
    elsewhere = [replace(each, conversation="order-form/chat2desk/77") for each in billed()]
    before_an_order = replace(billed()[1], data=OrderCancelled(reason="client"))
    await worker.take_in(worker.records([*elsewhere, before_an_order]))
    assert await worker.push() == 0


async def test_a_record_that_is_not_readable_is_a_dead_letter(worker, zoho):
    (record, *_) = worker.records(billed())
    await worker.take_in([replace(record, value=b"{}")])
    ((topic, letter),) = worker.topic.published
    assert topic == topics.DEAD
    assert isinstance(letter.data, RecordDeadLettered)
    assert (letter.data.service, await worker.push()) == ("crm", 0)


async def test_while_zoho_is_away_changes_wait_in_order(worker, zoho):
    zoho.script("orders", Answer(status=503), Answer(status=503))
    await worker.take_in(worker.records(billed(SHIPPED)))
    assert await worker.push() == 1, "what comes after the first change of an order waits for it"
    assert await worker.push(after=timedelta(seconds=29)) == 0
    assert await worker.push(after=timedelta(seconds=1)) == 1
    assert await worker.push(after=timedelta(seconds=59)) == 0
    assert await worker.push(after=timedelta(seconds=1)) == 3
    assert [each.status for each in await worker.events()] == ["draft", "confirmed", "shipped"]


async def test_an_order_that_waits_holds_up_no_other(worker, zoho):
    zoho.script("orders", Answer(status=503))
    first, second = billed(client="+919900000001"), billed(client="+919900000002")
    await worker.take_in(worker.records([*first, *second]))
    assert await worker.push() == 3
    assert {each.order_id for each in await worker.events()} == {order_of(second).order_id}


async def test_an_open_breaker_stops_every_try_and_counts_for_none(worker, zoho):
    zoho.script("accounts", *[Answer(status=503)] * 5)
    orders = [billed(client=f"+9199000000{number:02}") for number in range(10)]
    await worker.take_in(worker.records([each for order in orders for each in order]))
    assert await worker.push() == 6, "five that failed, and one that found the breaker open"
    assert worker.service.breaker.state == "open"
    assert (len(zoho.made("accounts")), zoho.orders) == (5, [])
    attempts = await worker.rows("SELECT attempts, count(*) FROM crm.pushes GROUP BY 1 ORDER BY 1")
    assert attempts == [(0, 15), (1, 5)]


async def test_a_zoho_that_is_busy_is_left_alone_for_as_long_as_it_says(worker, zoho):
    zoho.script("orders", Answer(status=429, headers={"retry-after": "90"}))
    orders = [billed(client=f"+9199000000{number:02}") for number in range(2)]
    await worker.take_in(worker.records([each for order in orders for each in order]))
    assert await worker.push() == 1
    assert await worker.push(after=timedelta(seconds=89)) == 0
    assert await worker.push(after=timedelta(seconds=1)) == 4


async def test_an_order_whose_saving_was_cut_off_is_looked_for_first(worker, zoho):
    """Zoho would add the items a second time."""
    zoho.script("orders", Answer(status=500, body=COMES_THROUGH))
    await worker.take_in(worker.records(billed()))
    await worker.push()
    await worker.push(after=MINUTE)
    (order,) = zoho.orders
    assert len(order["Ordered_Items"]) == 2
    assert [each.reference for each in await worker.events()] == [order["id"]] * 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            Answer(
                status=400,
                body=b'{"data":[{"code":"INVALID_DATA","details":{"api_name":"Subject","value":"x"},"status":"error"}]}',
            ),
            "INVALID_DATA: Subject",
            id="400",
        ),
        pytest.param(
            Answer(status=207, body=b'{"data":[{"code":"DUPLICATE_DATA","status":"error"}]}'),
            "DUPLICATE_DATA",
            id="207",
        ),
        pytest.param(Answer(status=404, body=b"gone"), "no reason that could be read", id="404"),
    ],
)
async def test_a_change_that_zoho_refuses_is_over(worker, zoho, answer, reason):
    zoho.script("orders", answer, answer)
    placed = billed()
    await worker.take_in(worker.records(placed))
    await worker.push()
    expected = OrderNotSynced(order_id=order_of(placed).order_id, reason=reason)
    assert await worker.events() == [expected, expected]
    assert await worker.push(after=timedelta(days=1)) == 0


async def test_a_product_that_zoho_does_not_have_is_told(worker, zoho):
    lines = (
        OrderLine(name="Brick", quantity=1, unit_price_minor=850, sku="BRICK-R"),
        OrderLine(name="cup", quantity=1, unit_price_minor=100),
    )
    await worker.take_in(worker.records(billed(lines=lines)))
    await worker.push()
    (first, _) = await worker.events()
    assert first.reason == "Zoho has no product with the code BRICK-R, cup"
    assert (zoho.orders, zoho.accounts) == ([], []), "nothing is written for an order that cannot be"


async def test_orders_wait_until_the_products_were_fetched_once(postgres_url, zoho):
    zoho.script("products", Answer(status=503))
    async with crm(postgres_url, zoho) as worker:
        await worker.take_in(worker.records(billed()))
        await worker.refresh()
        assert await worker.push() == 0
        await worker.refresh(after=MINUTE)
        assert await worker.push() == 2


async def test_an_order_whose_beginning_is_not_known_is_told(worker, zoho):
    _, confirmed = billed()
    await worker.take_in(worker.records([confirmed]))
    await worker.push()
    (event,) = await worker.events()
    assert event.reason == "the order's beginning is not known here"


async def test_two_workers_make_each_change_once(postgres_url, worker, zoho):
    orders = [billed(client=f"+9199000000{number:02}") for number in range(5)]
    await worker.take_in(worker.records([each for order in orders for each in order]))
    async with crm(postgres_url, zoho, clock=worker.clock) as other:
        while await other.service.pushing.step() | await worker.service.pushing.step():
            pass
    assert len(zoho.made("orders")) == len(await worker.events()) == 10
    assert sorted(order["Account_Name"]["id"] for order in zoho.orders) == sorted(each["id"] for each in zoho.accounts)


async def test_a_worker_that_died_in_a_change_is_followed_by_another(postgres_url, worker, zoho):
    await worker.take_in(worker.records(billed()))
    assert await worker.service.pushing._claim() is not None
    async with crm(postgres_url, zoho, clock=worker.clock) as other:
        assert await other.push() == 0
        assert await other.push(after=timedelta(minutes=5)) == 2
    assert len(zoho.made("search")) == 1, "nobody knows how far the first one came"
