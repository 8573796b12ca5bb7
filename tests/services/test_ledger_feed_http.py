"""GET /history/events over a real uvicorn: resuming, filters, keys, heartbeats, slow clients, and the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from chatledger import topics
from chatledger.access import KEY_PREFIX, Principal, Scope
from chatledger.adapters.ledger_feed import LedgerFeed, Stretch
from chatledger.http_api import Guard
from chatledger.ports import EVERYTHING, LedgerEvent, Selection
from chatledger.replay import event_line
from chatledger_ingress.server import listen, serve
from chatledger_ledger.feed_api import StreamLimits, router
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.dialog import message
from tests.support.ledger import as_records, history, open_ledger
from tests.support.store_history import StoreHistory

pytestmark = pytest.mark.postgres
TIMEOUT_S = 20
EVENTS = "/history/events"


class Keys:
    """Keys in memory; any of them may be revoked."""

    def __init__(self) -> None:
        self.known = {
            f"{KEY_PREFIX}all": Principal(name="all", scope=Scope.READ),
            f"{KEY_PREFIX}store": Principal(name="store", scope=Scope.READ, project="store"),
        }

    async def principal(self, key: str) -> Principal | None:
        return self.known.get(key)


@dataclass(frozen=True, kw_only=True)
class Told:
    """One block of a stream: an event, or what stands between events."""

    id: str | None = None
    event: str | None = None
    data: str | None = None
    retry: str | None = None
    comment: str | None = None


@dataclass(kw_only=True)
class Running:
    """The route behind a port, and what is recorded."""

    http: httpx.AsyncClient
    ledger: PostgresLedger
    feed: LedgerFeed
    keys: Keys
    stop: asyncio.Event
    port: int
    serving: asyncio.Task[None]

    async def events(self) -> list[LedgerEvent]:
        return [event async for event in self.ledger.read()]

    @asynccontextmanager
    async def stream(self, query: str = "", *, key: str = "all", **headers: str) -> AsyncIterator[AsyncIterator[Told]]:
        """The blocks of a stream, as they come."""
        options = {"authorization": f"Bearer {KEY_PREFIX}{key}"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        async with asyncio.timeout(TIMEOUT_S), self.http.stream("GET", f"{EVENTS}{query}", headers=options) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield blocks(answer)

    async def get(self, query: str = "", *, key: str | None = "all", **headers: str) -> httpx.Response:
        """An answer that ends."""
        given = {} if key is None else {"authorization": f"Bearer {KEY_PREFIX}{key}"}
        return await self.http.get(f"{EVENTS}{query}", headers=given | headers)


async def blocks(answer: httpx.Response) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, text = line.partition(": ")
            fields[name or "comment"] = text
        else:
            yield Told(**{name.replace(":", "comment"): text for name, text in fields.items()})
            fields = {}


async def told(stream: AsyncIterator[Told], count: int) -> list[Told]:
    """The next events of a stream."""
    found: list[Told] = []
    while len(found) < count:
        block = await anext(stream)
        if block.data is not None:
            found.append(block)
    return found


@asynccontextmanager
async def running(url: str, *, feed_class: type[LedgerFeed] = LedgerFeed, **limits: Any) -> AsyncIterator[Running]:
    app, keys, stop, listener = FastAPI(), Keys(), asyncio.Event(), listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with open_ledger(url) as ledger, feed_class(url, poll_s=0.5, stop=stop) as feed:
        app.include_router(router(feed, Guard(keys), StreamLimits(**limits)))
        serving = asyncio.create_task(serve(app, listener, stop, drain_timeout_s=TIMEOUT_S))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as http:
            yield Running(http=http, ledger=ledger, feed=feed, keys=keys, stop=stop, port=port, serving=serving)
        stop.set()
        await serving


async def test_a_stream_tells_what_is_there_and_then_what_is_recorded(postgres_url: str) -> None:
    async with running(postgres_url) as web:
        await web.ledger.append(as_records(history("77")))
        async with web.stream() as stream:
            assert (await anext(stream)).retry == "3000"
            first = await told(stream, len(history("77")))
            await web.ledger.append(as_records(history("78"), first_offset=1_000))
            events = await web.events()
            second = await told(stream, len(events) - len(first))
        for block, event in zip([*first, *second], events, strict=True):
            assert (block.id, block.event) == (str(event.position), event.envelope.data.type)
            assert (block.data or "").encode() == event_line(event)


async def test_who_comes_back_goes_on_after_the_last_event(postgres_url: str) -> None:
    async with running(postgres_url) as web:
        await web.ledger.append(as_records(history("77")))
        events = await web.events()
        async with web.stream("?after=0", last_event_id=str(events[4].position)) as stream:
            assert [block.id for block in await told(stream, 2)] == [str(each.position) for each in events[5:7]]
        for word in ("now", "latest"):
            async with web.stream(f"?after={word}") as stream:
                await anext(stream)
                before = await web.ledger.last_position()
                await web.ledger.append(as_records([(topics.INBOUND, message(word, 1, "hi"))], first_offset=before * 9))
                (block,) = await told(stream, 1)
                assert orjson.loads(block.data or "")["metadata"]["conversation"].endswith(f"/{word}")


async def test_filters_leave_out_and_a_heartbeat_moves_past_what_was_left_out(postgres_url: str) -> None:
    async with running(postgres_url, heartbeat_s=0.05) as web:
        await web.ledger.append(as_records(history("77")))
        last = str(await web.ledger.last_position())
        query = "?type=address.given&type=phone.given&project=order-form&stream=conversation-order-form/chat2desk/77"
        async with web.stream(query) as stream:
            assert [block.event for block in await told(stream, 2)] == ["address.given", "phone.given"]
        async with web.stream("?project=store") as stream:
            while (block := await anext(stream)).id is None:
                assert block.data is None
            assert (block.comment, block.id, block.data) == ("heartbeat", last, None)
            later = await anext(stream)
            assert (later.comment, later.id) == ("heartbeat", None)


async def test_a_key_is_needed_and_one_for_a_project_sees_that_project_alone(postgres_url: str) -> None:
    async with running(postgres_url) as web:
        assert (await web.get(key=None)).status_code == 401
        assert (await web.get(key="unknown")).status_code == 401
        refused = await web.get("?project=order-form", key="store")
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        store = StoreHistory()
        store.replied(store.said("hi"))
        await web.ledger.append(as_records([*history("77"), *store.placed]))
        async with web.stream(key="store") as stream:
            found = await told(stream, len(store.placed))
        assert {orjson.loads(each.data or "")["metadata"]["conversation"] for each in found} == {store.conversation}


async def test_a_key_that_was_revoked_ends_its_stream(postgres_url: str) -> None:
    async with running(postgres_url, heartbeat_s=0.05) as web, web.stream() as stream:
        assert (await anext(stream)).retry
        assert (await anext(stream)).comment == "heartbeat"
        web.keys.known.clear()
        assert len([block async for block in stream]) <= 1


async def test_streams_are_bounded_and_one_that_is_left_makes_room(postgres_url: str) -> None:
    async with running(postgres_url, streams_max=1, heartbeat_s=0.05) as web:
        async with web.stream() as stream:
            await anext(stream)
            refused = await web.get()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert (await web.get(accept="application/json")).status_code == 200
        await room(web)


async def room(web: Running, status: int = 200) -> None:
    """Wait until a stream may be opened again; or, with 503, until there is no room."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            async with web.http.stream("GET", EVENTS, headers={"authorization": f"Bearer {KEY_PREFIX}all"}) as answer:
                if answer.status_code == status:
                    return
            await asyncio.sleep(0.01)


class CountedFeed(LedgerFeed):
    """Counts the stretches of ten positions that were told to anybody."""

    def __init__(self, database: str, **options: Any) -> None:
        super().__init__(database, **options, positions_per_read=10)
        self.stretches_read = 0

    async def stretches(
        self, selection: Selection = EVERYTHING, *, silence_s: float | None = None
    ) -> AsyncGenerator[Stretch, None]:
        async for stretch in super().stretches(selection, silence_s=silence_s):
            self.stretches_read += 1
            yield stretch


async def test_nothing_is_read_for_a_client_that_takes_nothing_and_it_is_let_go(postgres_url: str) -> None:
    async with running(postgres_url, feed_class=CountedFeed, streams_max=1, send_timeout_s=1.0) as web:
        feed = web.feed
        assert isinstance(feed, CountedFeed)
        large = [(topics.INBOUND, message("77", number, "x" * 200_000)) for number in range(200)]
        await web.ledger.append(as_records(large))
        with socket.create_connection(("127.0.0.1", web.port)) as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stuck.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY_PREFIX}all\r\n\r\n".encode())
            await room(web, 503)
            await room(web)
        assert 0 < feed.stretches_read < 15


async def test_open_streams_do_not_hold_up_the_drain(postgres_url: str) -> None:
    async with running(postgres_url) as web, web.stream() as stream:
        assert (await anext(stream)).retry
        web.stop.set()
        async with asyncio.timeout(TIMEOUT_S / 2):
            assert [block async for block in stream] == []
            await web.serving


async def test_pages_of_json_go_on_from_their_cursor(postgres_url: str) -> None:
    async with running(postgres_url) as web:
        await web.ledger.append(as_records(history("77")))
        seen, query = [], "?limit=7"
        while True:
            page = (await web.get(query, accept="application/json")).json()
            seen += page["events"]
            if page["next_cursor"] is None:
                break
            query = f"?limit=7&cursor={page['next_cursor']}"
        assert seen == [orjson.loads(event_line(event)) for event in await web.events()]
        assert page["position"] == await web.ledger.last_position()
        again = (await web.get(f"?after={page['position']}", accept="application/json")).json()
        assert again == {"events": [], "position": page["position"], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?after=soon", {}, "after"),
        ("?after=-1", {}, "after"),
        ("?after=1000000", {}, "after"),
        ("?after=99999999999999999999", {}, "after"),
        ("", {"last-event-id": "x"}, "Last-Event-ID"),
        ("?cursor=!", {"accept": "application/json"}, "cursor"),
        ("?limit=0", {}, "limit"),
        ("?typ=x", {}, "typ"),
        ("?project=%00", {}, "project"),
    ],
)
async def test_what_cannot_be_meant_is_refused(postgres_url: str, query: str, headers: Any, field: str) -> None:
    async with running(postgres_url) as web:
        refused = await web.get(query, **headers)
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
        assert [each["field"] for each in refused.json()["errors"]] == [field]
