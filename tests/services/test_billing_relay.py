"""The relay and what the HTTP API shows of it, on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from chatledger import topics
from chatledger.errors import BrokerUnavailable, ProducerBroken
from chatledger_billing.api import router
from chatledger_billing.app import set_up_database
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.projection import Changes
from chatledger_billing.read_model import ReadModel
from chatledger_billing.relay import ReadModelWriter
from chatledger_billing.store import postgres_store
from tests.services.billing_given import (
    PROJECTS,
    RememberedPublisher,
    billing_on,
    cause,
    order_records,
    placed,
    record,
    unpriced,
    writer_on,
)

pytestmark = pytest.mark.postgres


@asynccontextmanager
async def api_on(url: str) -> AsyncIterator[httpx.AsyncClient]:
    application = FastAPI()
    async with ReadModel(url) as read_model:
        application.include_router(router(read_model))
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://billing") as client:
            yield client


async def relayed(url: str, clients: int) -> RememberedPublisher:
    """Orders of so many clients, recorded and relayed; the last one has no price."""
    await set_up_database(url)
    publisher = RememberedPublisher()
    last = record(cause(unpriced(placed(clients)), clients), clients - 1)
    with billing_on(postgres_store(url), publisher) as billing:
        await billing.biller.handle([*order_records(range(1, clients)), last])
        async with writer_on(url) as writer:
            await billing.relay.step(writer, 0)
    return publisher


async def test_the_relay_publishes_the_log_in_order_and_leaves_the_register_out(postgres_url: str) -> None:
    published = (await relayed(postgres_url, 2)).on(topics.BILLING)
    assert [(each.data.type, each.stream_version) for each in published] == [
        ("order.created", 1),
        ("order.confirmed", 2),
        ("invoice.issued", 1),
        ("order.created", 1),
        ("order.confirmed", 2),
    ]
    issued, asked = published[2], cause(placed(1), 1)
    assert issued.stream == f"invoice-{invoice_id_of(placed(1).order_id)}"
    assert (issued.conversation, issued.time) == (asked.conversation, asked.time)
    assert (issued.causation_id, issued.correlation_id) == (asked.id, asked.correlation_id)
    assert issued.traceparent == asked.traceparent


async def test_a_crash_before_the_position_is_saved_publishes_the_same_ids_again(postgres_url: str) -> None:
    class Crashing(ReadModelWriter):
        async def save(self, changes: Changes, position: int) -> None:
            raise ConnectionError("killed here")

    await set_up_database(postgres_url)
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher) as billing:
        await billing.biller.handle(order_records([1, 2]))
        connection = await psycopg.AsyncConnection.connect(postgres_url, autocommit=True)
        async with connection:
            with pytest.raises(ConnectionError):
                await billing.relay.step(Crashing(connection), 0)
    first = publisher.on(topics.BILLING)
    with billing_on(postgres_store(postgres_url), publisher) as billing:
        async with writer_on(postgres_url) as writer:
            reached = await billing.relay.step(writer, await writer.position())
            assert await billing.relay.step(writer, reached) == reached == await writer.position()
    assert publisher.on(topics.BILLING) == first * 2
    async with api_on(postgres_url) as client:
        assert len((await client.get("/orders")).json()["orders"]) == 2


async def test_what_was_not_acknowledged_is_not_in_the_read_model(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher = RememberedPublisher(broken=True)
    with billing_on(postgres_store(postgres_url), publisher) as billing:
        await billing.biller.handle(order_records([1]))
        async with writer_on(postgres_url) as writer:
            with pytest.raises(BrokerUnavailable):
                await billing.relay.step(writer, 0)
            assert await writer.position() == 0


async def test_the_relay_waits_for_a_broker_that_is_away_and_ends_with_a_broken_producer(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher = RememberedPublisher(broken=True)
    with billing_on(postgres_store(postgres_url), publisher) as billing:
        await billing.biller.handle(order_records([1]))
        running = asyncio.create_task(billing.relay.run(postgres_url))
        async with asyncio.timeout(20):
            while not publisher.refused:  # noqa: ASYNC110  # the publisher tells nobody
                await asyncio.sleep(0.01)
            publisher.broken = False
            while not publisher.on(topics.BILLING):  # noqa: ASYNC110  # see above
                await asyncio.sleep(0.01)
            publisher.broken_with = ProducerBroken
            publisher.broken = True
            await billing.biller.handle(order_records([2]))
            with pytest.raises(ProducerBroken):
                await running
    assert len(publisher.on(topics.BILLING)) == 3


async def test_tables_are_set_up_once_however_often_it_is_asked(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    await set_up_database(postgres_url)


async def test_an_order_is_shown_with_its_invoice_and_history(postgres_url: str) -> None:
    await relayed(postgres_url, 2)
    order = placed(1)
    async with api_on(postgres_url) as client:
        by_id = (await client.get(f"/orders/{order.order_id}")).json()
        by_number = (await client.get(f"/orders/{order.order_number}")).json()
        invoice = (await client.get(by_id["invoice"]["href"])).json()
        without_price = (await client.get(f"/orders/{placed(2).order_id}")).json()
    assert by_id == by_number
    assert (by_id["status"], by_id["total"]) == ("confirmed", {"minor": 75000, "amount": "750.00", "currency": "INR"})
    assert by_id["lines"][0]["unit_price"]["amount"] == "250.00"
    assert [(each["version"], each["type"]) for each in by_id["history"]] == [
        (1, "order.created"),
        (2, "order.confirmed"),
    ]
    assert by_id["history"][0]["time"] == "2026-11-21T12:00:00Z"
    assert "address" not in by_id
    assert (invoice["number"], invoice["issued_on"], invoice["due_on"]) == (
        "INV-2026-000001",
        "2026-11-21",
        "2026-12-05",
    )
    assert invoice["order"]["href"] == f"/orders/{order.order_id}"
    assert (without_price["total"], without_price["invoice"]) == (None, None)


async def test_orders_are_paged_newest_first(postgres_url: str) -> None:
    await relayed(postgres_url, 5)
    seen: list[str] = []
    async with api_on(postgres_url) as client:
        asked: dict[str, str] = {"limit": "2"}
        for _ in range(3):
            page = (await client.get("/orders", params=asked)).json()
            seen += [order["id"] for order in page["orders"]]
            asked["cursor"] = page["next_cursor"]
        assert page["next_cursor"] is None
        nothing = (await client.get("/orders", params={"project": "another"})).json()
        drafts = (await client.get("/orders", params={"status": "draft"})).json()
    assert seen == [placed(client_id).order_id for client_id in (5, 4, 3, 2, 1)]
    assert nothing["orders"] == drafts["orders"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/orders/none", 404),
        ("/invoices/INV-2026-000009", 404),
        ("/orders/a%00b", 404),
        ("/orders/one?project=a%00b", 404),
        ("/invoices/one?project=a%00b", 404),
        ("/orders?limit=0", 422),
        ("/orders?status=lost", 422),
        ("/orders?cursor=!!", 422),
    ],
)
async def test_what_cannot_be_answered_is_a_problem(postgres_url: str, path: str, status: int) -> None:
    await set_up_database(postgres_url)
    async with api_on(postgres_url) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert ("errors" in problem) is (status == 422)
    assert problem["type"].startswith("urn:chatledger:problem:")


async def test_a_number_in_two_projects_asks_which(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    projects = {**PROJECTS, "other": replace(PROJECTS["order-form"], name="other")}
    with billing_on(postgres_store(postgres_url), RememberedPublisher(), projects=projects) as billing:
        other = record(cause(placed(2), 2, project="other"), 1)
        await billing.biller.handle([*order_records([1]), other])
        async with writer_on(postgres_url) as writer:
            await billing.relay.step(writer, 0)
    async with api_on(postgres_url) as client:
        assert (await client.get("/invoices/INV-2026-000001")).status_code == 409
        chosen = await client.get("/invoices/INV-2026-000001", params={"project": "other"})
        assert chosen.json()["project"] == "other"


async def test_before_billing_ran_the_api_says_that_it_is_not_there_yet(postgres_url: str) -> None:
    async with api_on(postgres_url) as client:
        answer = await client.get("/orders")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_the_api_cannot_write(postgres_url: str) -> None:
    async with ReadModel(postgres_url) as read_model:
        assert read_model._pool is not None
        async with read_model._pool.connection() as connection:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await connection.execute("CREATE TABLE intruder ()")
