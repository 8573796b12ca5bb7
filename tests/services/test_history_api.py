"""The HTTP API of the past, on Postgres: what it answers, to whom, and that the commands answer the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from chatledger.access import Principal, Scope
from chatledger.adapters.ledger_reader import ROLE
from chatledger.adapters.postgres import Pool, open_pool
from chatledger.events.ids import order_number
from chatledger.http_api import Guard, cursor_of
from chatledger.replay import event_line
from chatledger_cli.kinds import KINDS
from chatledger_cli.main import build
from chatledger_ledger.api import router
from chatledger_ledger.kinds import CLIENT, CLIENTS
from chatledger_ledger.time_travel import TimeTravel
from tests.support.ledger import Placed, as_records, history, open_ledger
from tests.support.store_history import invoice_of
from tests.support.time_travel import store_client, time_travel

pytestmark = pytest.mark.postgres
CUSTOMER = "+919900000001"
MADE = store_client(CUSTOMER, ["paid", "voided"])
PAID, VOIDED = dict.fromkeys(each.stream[6:] for _, each in MADE.placed if each.stream.startswith("order-"))
OTHERS = [each for client in ("77", "78", "79/events") for each in history(client, ["hi", "Baker Street 221b"])]
PLACED: Placed = [*MADE.placed, *OTHERS]
KEYS = {
    "clk_reader": Principal(name="reader", scope=Scope.READ),
    "clk_store": Principal(name="one shop", scope=Scope.READ, project="store"),
    "clk_form": Principal(name="another", scope=Scope.ADMIN, project="order-form"),
}
THINGS = {
    "conversations": MADE.conversation,
    "orders": PAID,
    "invoices": invoice_of(PAID),
    CLIENTS: CUSTOMER,
}
PATHS = (
    *(f"/history/{kind}/{name}" for kind, name in THINGS.items()),
    *(f"/history/diff/{kind}/{name}?from=@0" for kind, name in THINGS.items()),
    f"/history/streams/order-{PAID}",
)
NOT_TO_BE_MEANT = (
    ("/history/orders/none", 404, "there is no order 'none'"),
    ("/history/invoices/a%00b", 404, "nothing is called like this"),
    ("/history/conversations/", 404, "nothing is called like this"),
    (f"/history/conversations/{'x' * 500}", 404, "nothing is called like this"),
    ("/history/conversations/a/b/c", 404, "there is no conversation 'a/b/c'"),
    ("/history/clients/none", 404, "there is no client 'none'"),
    ("/history/streams/order-none", 404, "there is no stream 'order-none'"),
    ("/history/diff/parcels/7?from=@0", 404, "there are: conversations, orders, invoices, clients"),
    ("/history/diff/clients/none?from=@0", 404, "there is no client 'none'"),
    ("/history/orders/x?at=2026-11-21T10:00:00", 422, "at: is no time: write RFC 3339 with an offset"),
    ("/history/orders/x?at=yesterday", 422, "at: is no time"),
    ("/history/orders/x?at=2026-11-21T10:00:00Z&position=3", 422, "give one of them"),
    ("/history/orders/x?position=-1", 422, "position"),
    (f"/history/orders/x?position={2**63}", 422, "position"),
    ("/history/orders/x?moment=3", 422, "there are: at, position"),
    ("/history/diff/orders/x", 422, "from"),
    ("/history/diff/orders/x?from=@x", 422, "from: is no position"),
    ("/history/diff/orders/x?from=@2&to=@1", 422, "lies after"),
    ("/history/conversations?limit=101", 422, "limit"),
    ("/history/conversations?cursor=!!", 422, "cursor"),
    ("/history/conversations?cursor=AA", 422, "cursor"),
    ("/history/streams/x?cursor=!!", 422, "cursor"),
)
"""A path, the status of the problem that it is answered with, and what that says."""


class FakeKeyRing:
    """Knows KEYS."""

    async def principal(self, key: str) -> Principal | None:
        return KEYS.get(key)


class Api:
    """The API over HTTP, as the owner of a key calls it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, /, *, key: str = "clk_reader", **query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return await self.client.get(path, params=query or None, headers=headers)

    async def found(self, path: str, /, *, key: str = "clk_reader", **query: Any) -> Any:
        answer = await self.get(path, key=key, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def run(words: list[str]) -> Result:
    """Run a command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, build(words), words)


async def two_of_a_number(kind: str, number: str, project: str | None) -> list[str]:
    ids = {"INV-2026-000001": [invoice_of(PAID)], "INV-2026-000009": [invoice_of(PAID), invoice_of(VOIDED)]}
    return ids.get(number, [])


@asynccontextmanager
async def api_on(url: str) -> AsyncIterator[Api]:
    async with open_ledger(url) as ledger:
        await ledger.append(as_records(PLACED))
    async with time_travel(url, two_of_a_number) as travel:
        application = FastAPI()
        application.include_router(router(travel, Guard(FakeKeyRing())))
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://history") as client:
            yield Api(client)


async def test_every_route_needs_a_key(postgres_url):
    async with api_on(postgres_url) as api:
        for path in (*PATHS, "/history/conversations"):
            refused = await api.client.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
            assert (await api.get(path, key="clk_unknown")).status_code == 401
            assert (await api.get(path)).status_code == 200, path


async def test_a_key_of_one_project_sees_no_other(postgres_url):
    async with api_on(postgres_url) as api:
        for path in PATHS:
            there = await api.get(path)
            assert (await api.get(path, key="clk_store")).json() == there.json()
            hidden = await api.get(path, key="clk_form")
            assert (hidden.status_code, hidden.headers["content-type"]) == (404, "application/problem+json"), path
        number = order_number(PAID)
        assert (await api.get(f"/history/orders/{number}", key="clk_store")).status_code == 200
        assert (await api.get(f"/history/orders/{number}", key="clk_form")).status_code == 404
        listed = await api.found("/history/conversations", key="clk_store")
        assert [each["id"] for each in listed["conversations"]] == [MADE.conversation]
        assert (await api.get("/history/conversations", key="clk_store", project="order-form")).status_code == 403


async def test_a_state_now_and_then(postgres_url):
    async with api_on(postgres_url) as api:
        now = await api.found(f"/history/orders/{VOIDED}")
        assert (now["kind"], now["id"], now["events"], now["state"]["status"]) == ("order", VOIDED, 3, "cancelled")
        assert now["last_event"]["type"] == "order.cancelled"
        assert now["last_event"]["stream"] == f"order-{VOIDED}"
        then = await api.found(f"/history/orders/{VOIDED}", position=now["last_event"]["position"] - 1)
        assert (then["events"], then["state"]["status"], then["first"]) == (2, "confirmed", now["first"])
        at = now["last_event"]["recorded_at"]
        assert await api.found(f"/history/orders/{VOIDED}", at=at) == now
        # An offset's plus that was not escaped is a blank.
        unescaped = at.replace("Z", "+00:00")
        answer = await api.get(f"/history/orders/{VOIDED}?at={unescaped}")
        assert answer.json() == now
        before = await api.get(f"/history/orders/{VOIDED}", position=0)
        assert (before.status_code, before.json()["type"]) == (404, "urn:chatledger:problem:not-known-then")
        assert f"position {now['first']['position']}" in before.json()["detail"]


async def test_orders_and_invoices_are_found_by_number(postgres_url):
    async with api_on(postgres_url) as api:
        assert (await api.found(f"/history/orders/{order_number(PAID)}"))["id"] == PAID
        assert (await api.found("/history/invoices/INV-2026-000001"))["id"] == invoice_of(PAID)
        several = await api.get("/history/invoices/INV-2026-000009")
        assert (several.status_code, several.json()["type"]) == (409, "urn:chatledger:problem:ambiguous-number")


async def test_ids_with_slashes_and_odd_endings_are_ids(postgres_url):
    async with api_on(postgres_url) as api:
        odd = "order-form/chat2desk/79/events"
        assert (await api.found(f"/history/conversations/{odd}"))["id"] == odd
        assert (await api.found(f"/history/conversations/{quote(odd, safe='')}"))["id"] == odd
        assert (await api.found(f"/history/diff/conversations/{odd}", **{"from": "@0"}))["id"] == odd
        assert (await api.found(f"/history/streams/conversation-{odd}"))["stream"] == f"conversation-{odd}"
        assert (await api.found("/history/clients/79/events"))["state"]["conversations"].keys() == {odd}


async def test_what_cannot_be_meant_is_a_problem(postgres_url):
    async with api_on(postgres_url) as api:
        for path, status, complaint in NOT_TO_BE_MEANT:
            answer = await api.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
            assert complaint in answer.json()["detail"], path


async def test_conversations_are_listed_in_pages(postgres_url):
    async with api_on(postgres_url) as api:
        seen: list[Any] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            page = await api.found("/history/conversations", **query)
            seen += page["conversations"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        ids = [each["id"] for each in seen]
        assert ids == sorted({each.conversation for _, each in PLACED})
        store = seen[ids.index(MADE.conversation)]
        own = await api.found(f"/history/conversations/{MADE.conversation}")
        assert (store["events"], store["last_position"]) == (own["events"], own["last_event"]["position"])
        assert (store["first_recorded_at"], store["last_recorded_at"]) == (
            own["first"]["recorded_at"],
            own["last_event"]["recorded_at"],
        )
        only = await api.found("/history/conversations", project="order-form", limit=3)
        assert ([each["id"] for each in only["conversations"]], only["next_cursor"]) == (ids[:3], None)
        assert await api.found("/history/conversations", project="order") == {"conversations": [], "next_cursor": None}


async def test_the_events_of_a_stream_are_listed_in_pages(postgres_url):
    async with api_on(postgres_url) as api:
        path, seen = f"/history/streams/conversation-{MADE.conversation}", list[Any]()
        query: dict[str, Any] = {"limit": 3}
        while True:
            page = await api.found(path, **query)
            seen += page["events"]
            assert len(page["events"]) <= 3
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        async with open_ledger(postgres_url) as ledger:
            lines = [event_line(event) async for event in ledger.read() if event.envelope.stream == page["stream"]]
        assert [httpx.Response(200, content=line).json() for line in lines] == seen
        assert (await api.found(path, cursor=cursor_of(seen[-1]["position"])))["events"] == []


async def test_the_commands_answer_the_same(postgres_url, monkeypatch):
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    last = len(PLACED)
    async with api_on(postgres_url) as api:
        for plural, name in THINGS.items():
            kind = CLIENT if plural == CLIENTS else plural.removesuffix("s")
            for position in (last, last // 4, 14):
                words = ["state", kind, name, "--position", str(position), "--json"]
                said = await run(words)
                answer = await api.get(f"/history/{plural}/{name}", position=position)
                if answer.status_code == 404:
                    assert "nothing was known then" in said.stderr
                else:
                    assert httpx.Response(200, content=said.stdout).json() == answer.json()["state"]
            words = ["diff", kind, name, "--from", "@12", "--to-position", str(last - 5), "--json"]
            said = await run(words)
            answer = await api.found(f"/history/diff/{plural}/{name}", **{"from": "@12", "to": f"@{last - 5}"})
            assert httpx.Response(200, content=said.stdout).json() == answer


async def test_history_that_does_not_fit_is_a_problem(postgres_url):
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records([each for each in PLACED if each[1].stream_version == 2]))
    async with time_travel(postgres_url) as travel:
        application = FastAPI()
        application.include_router(router(travel, Guard(FakeKeyRing())))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://history") as client:
            for path in (f"/history/orders/{PAID}", f"/history/diff/orders/{PAID}?from=@0"):
                answer = await Api(client).get(path)
                assert (answer.status_code, answer.json()["type"]) == (
                    409,
                    "urn:chatledger:problem:history-does-not-fit",
                )


async def test_while_postgres_is_away_the_answer_is_to_come_back(postgres_url):
    async with open_ledger(postgres_url):
        pass
    pool = await open_pool(postgres_url, role=ROLE)
    application = FastAPI()
    application.include_router(router(TimeTravel(pool, KINDS), Guard(FakeKeyRing())))
    await pool.close()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://history") as client:
        for path in (*PATHS, "/history/conversations"):
            answer = await Api(client).get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_routes_are_described():
    application = FastAPI()
    application.include_router(router(TimeTravel(cast("Pool", None), KINDS), Guard(FakeKeyRing())))
    paths = application.openapi()["paths"]
    assert set(paths) == {
        "/history/conversations",
        "/history/conversations/{id}",
        "/history/orders/{id}",
        "/history/invoices/{id}",
        "/history/clients/{id}",
        "/history/diff/{kind}/{id}",
        "/history/streams/{stream}",
    }
    for path in paths.values():
        assert path["get"]["security"] == [{"API key": []}]
        assert path["get"]["description"]
        assert {"200", "401", "403", "422", "503"} <= path["get"]["responses"].keys()
