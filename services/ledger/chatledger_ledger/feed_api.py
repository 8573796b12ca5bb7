"""GET /history/events: the ledger as it goes on, as server-sent events, or one page of it as JSON.

A stream never ends by itself: who lost it comes back with Last-Event-ID and misses nothing. It is pulled: nothing is
read for a client that does not take what it was sent, and one that takes nothing for long is let go. The key is
asked for again while a stream lasts, so that a revoked one ends it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import psycopg
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from chatledger.access import Principal, Scope
from chatledger.adapters.ledger_feed import LedgerFeed, PositionBeyondEnd, Stretch
from chatledger.errors import OutsideUnavailable
from chatledger.events.codec import type_and_version
from chatledger.http_api import (
    ID_LENGTH_MAX,
    POSITION_MAX,
    RETRY_AFTER_S,
    Guard,
    ProblemRoute,
    Refused,
    cursor_of,
    position_of,
    project_for,
)
from chatledger.http_problems import problem_of_fields, problem_of_status
from chatledger.ports import LedgerEvent, Selection
from chatledger.replay import event_line

PAGE_MAX = 1_000
READS_PER_PAGE_MAX = 50
"""A page with a narrow filter looks at so many stretches and no more; its cursor goes on from there."""
STREAM_LENGTH_MAX = 1_000
"""The ledger keeps no longer names."""
TYPES_MAX = 50
CHUNK_BYTES = 64 * 1024
"""As much is written before a slow client is waited for."""
END_WORDS = ("now", "latest")
MEDIA_TYPE = "text/event-stream"
NO_CACHE = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""nginx and the like would else collect a stream before they pass it on."""
_LINE_END = re.compile(r"[\r\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What streams may take. Beyond `streams_max` a client is asked to come back."""

    streams_max: int = 100
    heartbeat_s: float = 15.0
    """So often a client hears something, and its key is looked at; proxies give up after 60 s of silence."""
    send_timeout_s: float = 60.0
    """A client that takes nothing for so long has gone, or is stuck."""
    retry_ms: int = 3_000
    """When a client that lost its stream comes back."""


Text = Annotated[str | None, Query(min_length=1, max_length=ID_LENGTH_MAX)]
Types = Annotated[list[str] | None, Query(alias="type", max_length=TYPES_MAX, description="May be given again.")]
After = Annotated[
    str | None,
    Query(
        description="The position after which to begin; `now` begins with what is recorded next. Without it: 0.",
        max_length=ID_LENGTH_MAX,
    ),
]


def router(feed: LedgerFeed, guard: Guard, limits: StreamLimits = StreamLimits()) -> APIRouter:
    """Return the route. Whoever mounts it opens and closes `feed`; streams end when the feed is closed."""
    routes = APIRouter(prefix="/history", route_class=ProblemRoute, tags=["history"])
    may_read = guard(Scope.READ)
    streams = _Streams(feed=feed, limits=limits)

    @routes.get("/events", name="follow_history_events", responses={200: _DESCRIBED})
    async def follow_events(
        request: Request,
        after: After = None,
        project: Text = None,
        types: Types = None,
        stream: Annotated[str | None, Query(min_length=1, max_length=STREAM_LENGTH_MAX)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Of a page.")] = 100,
        cursor: Annotated[str | None, Query(description="Of a page: `next_cursor` of the one before.")] = None,
        last_event_id: Annotated[str | None, Header(description="Where to go on; counts more than `after`.")] = None,
        caller: Principal = Depends(may_read),
    ) -> Response:
        """Follow the ledger: every event after a position, and then each one as it is recorded.

        Without `Accept: application/json` this is a stream of server-sent events: `id` is the position, `event` the
        type, `data` one JSON object with the columns of the ledger. With it, it is one page of what is there.
        """
        project = project_for(caller, project)
        _require_storable(project=project, stream=stream, type="".join(types or ()))
        as_page = _wants_json(request.headers.get("accept", ""))
        try:
            begin = await _begin(feed, after, cursor if as_page else None, None if as_page else last_event_id)
            wanted = Selection(after=begin, project=project, types=tuple(types or ()), stream=stream)
            if as_page:
                page = await feed.page(wanted, limit=limit, reads_max=READS_PER_PAGE_MAX)
                return Response(_page_body(page, await feed.last_position()), media_type="application/json")
            await feed.require_reached(begin)
        except PositionBeyondEnd as beyond:
            raise Refused(problem_of_fields([("after", str(beyond))])) from beyond
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"the ledger cannot be read: {wrong}") from wrong
        if streams.open >= limits.streams_max:
            detail = f"{limits.streams_max} streams are open, as many as there may be; come back later"
            raise Refused(problem_of_status(503, detail, {"retry-after": str(RETRY_AFTER_S)}))

        async def is_still_allowed() -> bool:
            try:
                return (await may_read(request)).sees(project)
            except Refused:
                return False
            except OutsideUnavailable:
                return True  # nobody knows; the next look will tell

        return streams.response(wanted, is_still_allowed)

    return routes


@dataclass(slots=True, kw_only=True)
class _Streams:
    """The open streams of this process."""

    feed: LedgerFeed
    limits: StreamLimits
    open: int = 0

    def response(self, wanted: Selection, is_still_allowed: Callable[[], Awaitable[bool]]) -> Response:
        """Return the answer that streams what is wanted."""
        return _EventStream(self, self._chunks(wanted, is_still_allowed))

    async def _chunks(
        self, wanted: Selection, is_still_allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        heartbeat_s = self.limits.heartbeat_s
        yield b"retry: %d\n\n" % self.limits.retry_ms
        told, asked = wanted.after, clock()
        async with aclosing(self.feed.stretches(wanted, silence_s=heartbeat_s)) as stretches:
            async for stretch in stretches:
                if clock() >= asked + heartbeat_s:
                    if not await is_still_allowed():
                        return
                    asked = clock()
                for chunk in _frames(stretch.events):
                    yield chunk
                if not stretch.events:
                    # An id without data is no event: it moves the client past what is not for it.
                    moved = b"" if stretch.position == told else b"id: %d\n" % stretch.position
                    yield b": heartbeat\n" + moved + b"\n"
                told = stretch.position


class _EventStream(StreamingResponse):
    """A stream that is counted while it lasts, and given up when its client takes nothing."""

    media_type = MEDIA_TYPE

    def __init__(self, streams: _Streams, chunks: AsyncGenerator[bytes, None]) -> None:
        super().__init__(chunks, headers=NO_CACHE)
        self._streams, self._chunks = streams, chunks

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Any) -> None:
            async with asyncio.timeout(self._streams.limits.send_timeout_s):
                await send(message)

        self._streams.open += 1
        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            # The client is stuck. What was not sent it will ask for when it comes back.
            pass
        finally:
            self._streams.open -= 1
            await self._chunks.aclose()


def _frames(events: tuple[LedgerEvent, ...]) -> list[bytes]:
    """The events as a stream has them, in pieces of some size."""
    pieces, piece = [], bytearray()
    for event in events:
        name = _LINE_END.sub(" ", type_and_version(event.envelope.data)[0])
        piece += b"id: %d\nevent: %s\ndata: %s\n\n" % (event.position, name.encode(), event_line(event))
        if len(piece) >= CHUNK_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
    return [*pieces, bytes(piece)] if piece else pieces


async def _begin(feed: LedgerFeed, after: str | None, cursor: str | None, last_event_id: str | None) -> int:
    """Return the position after which to begin. Raises Refused for what is none."""
    if cursor is not None:
        return position_of(cursor)
    field, text = ("Last-Event-ID", last_event_id) if last_event_id else ("after", after or "0")
    if field == "after" and text in END_WORDS:
        return await feed.last_position()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(POSITION_MAX)) and int(text) <= POSITION_MAX):
        raise Refused(problem_of_fields([(field, "is no position: a whole number, or `now`")]))
    return int(text)


def _wants_json(accept: str) -> bool:
    accepted = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return "application/json" in accepted and MEDIA_TYPE not in accepted


def _require_storable(**parameters: str | None) -> None:
    faults = [(name, "has a NUL character") for name, text in parameters.items() if text and "\0" in text]
    if faults:
        raise Refused(problem_of_fields(faults))


def _page_body(page: Stretch, last_position: int) -> bytes:
    return orjson.dumps(
        {
            "events": [orjson.Fragment(event_line(event)) for event in page.events],
            "position": page.position,
            "next_cursor": cursor_of(page.position) if page.position < last_position else None,
        }
    )


_DESCRIBED: dict[str, Any] = {
    "description": "Events in the order of positions, without end; or, as JSON, a page of them.",
    "content": {
        MEDIA_TYPE: {"schema": {"type": "string"}},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["events", "position", "next_cursor"],
                "properties": {
                    "events": {"type": "array", "items": {"type": "object"}},
                    "position": {
                        "type": "integer",
                        "description": "Up to here everything was looked at: the `after` of the next look.",
                    },
                    "next_cursor": {"type": ["string", "null"], "description": "Null where nothing more is there yet."},
                },
            }
        },
    },
}
