"""crm keeps a copy of Zoho's stock and prices, and tells what changed: with the stand-in, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from chatledger.errors import BrokerUnavailable
from chatledger_cli.provider_stand_in import Answer
from chatledger_cli.zoho_stand_in import ZohoStandIn
from chatledger_crm.zoho import Credentials
from tests.support.crm import CEMENT, ROD, START, crm

pytestmark = pytest.mark.postgres

QUARTER = timedelta(minutes=15)
UNAVAILABLE = Answer(status=503)


@pytest.fixture
async def zoho() -> AsyncIterator[ZohoStandIn]:
    stand_in = await ZohoStandIn([CEMENT, ROD, {"Product_Code": "TILE-1", "Unit_Price": 10, "Qty_in_Stock": 1}]).start()
    yield stand_in
    await stand_in.stop()


async def test_only_what_changed_of_the_catalogue_is_told(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        first = await worker.envelopes()
        assert {each.data.sku: (each.data.price_minor, each.data.stock) for each in first} == {
            "CEM-50": (5_250, 40),
            "ROD-12": (55_000, 12),
        }
        assert [(each.conversation, each.stream, each.stream_version) for each in first] == [
            ("store/inventory/CEM-50", "inventory-store-CEM-50", 1),
            ("store/inventory/ROD-12", "inventory-store-ROD-12", 1),
        ]
        assert all(each.causation_id is None and each.correlation_id == each.id for each in first)

        await worker.refresh(after=QUARTER)
        assert await worker.events() == []

        zoho.set_products([CEMENT, {**ROD, "Qty_in_Stock": 11}])
        await worker.refresh(after=QUARTER)
        (second,) = await worker.envelopes()
        assert (second.data.sku, second.data.stock, second.stream_version) == ("ROD-12", 11, 2)
        assert second.data.fetched_at == second.time == START + 2 * QUARTER


async def test_it_asks_when_it_is_time_and_not_before(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        await worker.refresh(after=QUARTER - timedelta(seconds=1))
        assert len(zoho.made("products")) == 1
        await worker.refresh(after=timedelta(seconds=1))
        assert len(zoho.made("products")) == 2


async def test_another_worker_beside_it_asks_no_second_time(postgres_url, zoho):
    async with crm(postgres_url, zoho) as one, crm(postgres_url, zoho) as other:
        await one.refresh()
        await other.refresh()
        assert len(zoho.made("products")) == 1


async def test_every_page_is_read(postgres_url, zoho):
    others = [{"Product_Code": f"X-{number}", "Unit_Price": 1, "Qty_in_Stock": 1} for number in range(5)]
    zoho.set_products([*others, CEMENT, ROD])
    zoho._page_size = 2
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        assert await worker.updates() == {"CEM-50": (5_250, 40), "ROD-12": (55_000, 12)}
    pages = zoho.made("products")
    assert [page.get("page_token") for page in pages] == [None, "token-2", "token-4", "token-6"]
    assert {page["fields"] for page in pages} == {"Product_Code,Unit_Price,Qty_in_Stock"}


@pytest.mark.parametrize(
    ("price", "stock", "told"),
    [
        ("52.5", 40, (5_250, 40)),
        ("0.29", "7", (29, 7)),
        ("1234567890123.45", 0, (123_456_789_012_345, 0)),
        ("1E+2", 3.9, (10_000, 3)),
        ("0.005", -2, (None, 0)),
        ("-1", None, (None, None)),
        (None, True, (None, None)),
        ("1E+400", "many", (None, None)),
    ],
)
async def test_amounts_are_read_digit_by_digit(postgres_url, zoho, price, stock, told):
    zoho.set_products([{"Product_Code": "cem-50", "Unit_Price": price, "Qty_in_Stock": stock}])
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        assert await worker.updates() == {"CEM-50": told}


async def test_a_product_that_zoho_has_no_more_is_not_known_any_more(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        await worker.updates()
        zoho.set_products([CEMENT])
        await worker.refresh(after=QUARTER)
        assert await worker.updates() == {"ROD-12": (None, None)}
        zoho.set_products([])
        await worker.refresh(after=QUARTER)
        assert await worker.updates() == {"CEM-50": (None, None)}


async def test_while_zoho_is_away_the_last_copy_counts_with_its_age(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        await worker.updates()
        zoho.script("products", *[UNAVAILABLE] * 2)
        await worker.refresh(after=QUARTER)
        await worker.refresh(after=timedelta(seconds=29))
        assert len(zoho.made("products")) == 2, "a failure is tried again after half a minute"
        await worker.refresh(after=timedelta(seconds=1))
        assert await worker.events() == []
        assert set(await worker.rows("SELECT sku, price_minor, stock, fetched_at FROM crm.inventory")) == {
            ("CEM-50", 5_250, 40, START),
            ("ROD-12", 55_000, 12, START),
        }
        await worker.refresh(after=timedelta(minutes=1))
        fetched = await worker.rows("SELECT DISTINCT fetched_at FROM crm.inventory")
        assert fetched == [(worker.clock.now(),)]


async def test_the_breaker_opens_and_is_shown(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        zoho.script("token", *[UNAVAILABLE] * 5)
        for _ in range(5):
            await worker.refresh(after=timedelta(hours=1))
        assert worker.service.breaker.state == "open"
        await worker.refresh(after=timedelta(hours=1))
        assert len(zoho.made("token")) == 5, "an open breaker lets no call through"
        await worker.service.board.show([worker.service.breaker])
        first = await worker.rows("SELECT name, state, failures, changed_at, seen_at FROM crm.breakers")
        opened_at = worker.clock.now()
        worker.clock.advance(timedelta(seconds=7))
        await worker.service.board.show([worker.service.breaker])
        second = await worker.rows("SELECT name, state, failures, changed_at, seen_at FROM crm.breakers")
    assert first == [("zoho", "open", 5, opened_at, opened_at)]
    assert second == [("zoho", "open", 5, opened_at, opened_at + timedelta(seconds=7))]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(instead="reset"), id="reset"),
        pytest.param(Answer(instead="hang"), id="hang"),
        pytest.param(Answer(status=500), id="error"),
    ],
)
async def test_a_zoho_that_is_away_counts_for_the_breaker(postgres_url, zoho, answer):
    zoho.script("products", answer)
    async with crm(postgres_url, zoho, timeout_s=0.3) as worker:
        await worker.refresh()
        assert worker.service.breaker.failures == 1
        assert await worker.events() == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=429, headers={"retry-after": "120"}), id="busy"),
        pytest.param(Answer(status=400, body=b'{"code": "LIMIT_EXCEEDED"}'), id="refused"),
        pytest.param(Answer(status=403, body=b'{"code": "NO_PERMISSION"}'), id="denied"),
        pytest.param(Answer(body=b'{"data": NaN}'), id="not JSON"),
        pytest.param(Answer(body=b'{"data": []}'), id="not a list of products"),
        pytest.param(Answer(body=b'{"data": [], "info": {"more_records": true, "next_page_token": 5}}'), id="no token"),
        pytest.param(Answer(body=b"[" * 100_000), id="deep"),
    ],
)
async def test_what_zoho_answers_otherwise_changes_nothing_and_is_tried_again(postgres_url, zoho, answer):
    zoho.script("products", answer)
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        assert worker.service.breaker.failures == 0
        assert await worker.events() == []
        await worker.refresh(after=timedelta(seconds=119 if answer.status == 429 else 29))
        assert len(zoho.made("products")) == 1
        await worker.refresh(after=timedelta(seconds=1))
        assert len(await worker.updates()) == 2


async def test_an_expired_token_is_renewed_once(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        zoho.expire_tokens()
        zoho.set_products([{**CEMENT, "Qty_in_Stock": 1}, ROD])
        await worker.refresh(after=QUARTER)
        assert (await worker.updates())["CEM-50"] == (5_250, 1)
    (form, _) = zoho.made("token")
    assert form == {
        "grant_type": "refresh_token",
        "client_id": "1000.id",
        "client_secret": "secret",
        "refresh_token": "1000.refresh",
    }


async def test_a_refresh_token_that_is_of_no_use_is_no_failure_of_zoho(postgres_url, zoho):
    revoked = Credentials(client_id="1000.id", client_secret="secret", refresh_token="revoked")
    async with crm(postgres_url, zoho, credentials=revoked) as worker:
        for _ in range(6):
            await worker.refresh(after=timedelta(hours=1))
        assert worker.service.breaker.state == "closed"
        assert (len(zoho.made("token")), len(zoho.made("products"))) == (6, 0)


async def test_a_broker_that_was_replaced_is_told_everything_again(postgres_url, zoho):
    async with crm(postgres_url, zoho, incarnation="first") as worker:
        await worker.refresh()
        zoho.set_products([CEMENT, {**ROD, "Qty_in_Stock": 11}])
        await worker.refresh(after=QUARTER)
        before = {each.id: each for each in await worker.envelopes()}
        clock = worker.clock
    async with crm(postgres_url, zoho, incarnation="first", clock=clock) as worker:
        assert await worker.events() == []
    async with crm(postgres_url, zoho, incarnation="second", clock=clock) as worker:
        again = await worker.envelopes()
    assert [(each.data.sku, each.stream_version) for each in again] == [("CEM-50", 1), ("ROD-12", 2)]
    assert all(before[each.id] == each for each in again), "the same events, so that the ledger has them once"


async def test_what_was_said_long_ago_is_said_again(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        await worker.refresh()
        assert len(await worker.updates()) == 2
        await worker.refresh(after=timedelta(hours=11))
        assert await worker.events() == []
        await worker.refresh(after=timedelta(hours=2))
        assert len(await worker.updates()) == 2


async def test_while_the_broker_is_away_what_changed_waits(postgres_url, zoho):
    async with crm(postgres_url, zoho) as worker:
        worker.topic.is_away = True
        await worker.refresh()
        with pytest.raises(BrokerUnavailable):
            await worker.events()
        worker.topic.is_away = False
        assert len(await worker.updates()) == 2
