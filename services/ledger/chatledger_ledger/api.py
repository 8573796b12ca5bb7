"""The HTTP API of the past, by API key: what was known at a moment, what changed, and the events, page by page.

An id comes last in every path, because a conversation's has slashes and may end like anything. A key that is for one
project sees that project's history alone: of the rest it learns no more than that it is not there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from chatledger.access import Principal, Scope
from chatledger.errors import InvariantViolated
from chatledger.events.codec import parse_time
from chatledger.http_api import (
    BAD_CURSOR,
    ID_LENGTH_MAX,
    POSITION_MAX,
    Guard,
    ProblemRoute,
    Refused,
    cursor_of,
    position_of,
    project_for,
)
from chatledger.http_problems import Problem, problem_of_fields, problem_of_status
from chatledger_ledger.kinds import CLIENT, CLIENTS
from chatledger_ledger.moments import NOW, Moment
from chatledger_ledger.time_travel import TimeTravel
from chatledger_ledger.views import (
    ConversationPage,
    DifferenceView,
    StateView,
    StreamPage,
    conversation_view,
    difference_view,
    event_columns,
    state_view,
)

PAGE_MAX = 100
STREAM_LENGTH_MAX = 1_000
"""The ledger keeps no longer names."""
_UNESCAPED_PLUS = re.compile(r"(?<=\d) (?=\d\d:\d\d$)")

At = Annotated[
    str | None,
    Query(description="As it was known at this recorded time: RFC 3339, with an offset.", max_length=ID_LENGTH_MAX),
]
Position = Annotated[
    int | None, Query(description="As it was known at this position of the ledger.", ge=0, le=POSITION_MAX)
]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
ProjectName = Annotated[str | None, Query(description="Only this project's.", max_length=ID_LENGTH_MAX)]
_WHEN = "A recorded time (RFC 3339, with an offset), or a position as `@1200`."

Caller = Callable[[Request], Awaitable[Principal]]


def router(travel: TimeTravel, guard: Guard) -> APIRouter:
    """Return the routes under /history. Whoever mounts them opens and closes what `travel` asks."""
    routes = APIRouter(prefix="/history", route_class=ProblemRoute, tags=["history"])
    reader = guard(Scope.READ)
    _add_lists(routes, travel, reader)
    for kind in travel.kinds:
        _add_state(routes, travel, reader, kind.name, kind.plural)
    _add_state(routes, travel, reader, CLIENT, CLIENTS)
    _add_difference(routes, travel, reader)
    return routes


def _add_lists(routes: APIRouter, travel: TimeTravel, reader: Caller) -> None:
    @routes.get("/conversations", response_model=ConversationPage, name="list_history_conversations")
    async def list_conversations(
        project: ProjectName = None,
        limit: Limit = 50,
        cursor: Annotated[str | None, Query(max_length=2 * STREAM_LENGTH_MAX)] = None,
        caller: Principal = Depends(reader),
    ) -> ConversationPage:
        """List conversations in the order of their ids; `next_cursor` of one page is the `cursor` of the next."""
        found = await travel.conversations(
            after=None if cursor is None else _id_in(cursor),
            limit=limit + 1,
            project=project_for(caller, None if project is None else _sought(project)),
        )
        page = found[:limit]
        return ConversationPage(
            conversations=[conversation_view(each) for each in page],
            next_cursor=_cursor_after(page[-1].id) if len(found) > limit else None,
        )

    @routes.get("/streams/{stream:path}", response_model=StreamPage, name="read_history_stream")
    async def read_stream(
        stream: str, limit: Limit = 50, cursor: str | None = None, caller: Principal = Depends(reader)
    ) -> StreamPage:
        """List one stream's events in their order: `conversation-<id>`, `order-<id>`, `invoice-<id>` or any other."""
        after = 0 if cursor is None else position_of(cursor)
        name = _sought(stream, length_max=STREAM_LENGTH_MAX)
        found = await travel.stream_page(name, after=after, limit=limit + 1, project=caller.project)
        if not found and after == 0:
            raise Refused(problem_of_status(404, f"there is no stream {stream!r}"))
        page = found[:limit]
        return StreamPage(
            stream=stream,
            events=[event_columns(each) for each in page],
            next_cursor=cursor_of(page[-1].position) if len(found) > limit else None,
        )


def _add_state(routes: APIRouter, travel: TimeTravel, reader: Caller, kind: str, plural: str) -> None:
    async def read_state(
        id: str, at: At = None, position: Position = None, caller: Principal = Depends(reader)
    ) -> StateView:
        moment = _moment(at, position)
        found = await _find(travel, kind, id, caller)
        with _broken_explained():
            known = await travel.state(kind, found, moment, project=caller.project)
        if known is None:
            raise Refused(_not_there(kind, id))
        if known.last_event is None:
            first = f"recorded at {known.first.recorded_at.isoformat()}, position {known.first.position}"
            detail = f"nothing was known of it then: its first event was {first}"
            raise Refused(Problem(status=404, title="Not known then", detail=detail))
        return state_view(known)

    article = "an" if kind[0] in "aeiou" else "a"
    by = "" if kind == CLIENT or kind == travel.kinds[0].name else ", by its id or its number"
    routes.add_api_route(
        f"/{plural}/{{id:path}}",
        read_state,
        response_model=StateView,
        name=f"read_history_{kind}",
        summary=f"Read {article} {kind} as it was",
        description=f"Tell what was known of {article} {kind} at a moment, or is known now{by}.",
    )


def _add_difference(routes: APIRouter, travel: TimeTravel, reader: Caller) -> None:
    names = {**{kind.plural: kind.name for kind in travel.kinds}, CLIENTS: CLIENT}

    @routes.get("/diff/{kind}/{id:path}", response_model=DifferenceView, name="read_history_difference")
    async def read_difference(
        kind: Annotated[str, Path(description="One of conversations, orders, invoices, clients.")],
        id: str,
        start: Annotated[str, Query(alias="from", description=_WHEN, max_length=ID_LENGTH_MAX)],
        end: Annotated[
            str | None, Query(alias="to", description=f"{_WHEN} Without it: now.", max_length=ID_LENGTH_MAX)
        ] = None,
        caller: Principal = Depends(reader),
    ) -> DifferenceView:
        """Tell what changed between two moments, from what to what, and the events that did it."""
        if kind not in names:
            raise Refused(problem_of_status(404, f"there is no kind {kind!r}; there are: {', '.join(names)}"))
        earlier, later = _read_moment("from", start), NOW if end is None else _read_moment("to", end)
        if end is not None and earlier.is_after(later):
            raise Refused(problem_of_fields([("from", "lies after `to`")]))
        found = await _find(travel, names[kind], id, caller)
        with _broken_explained():
            difference = await travel.difference(names[kind], found, earlier, later, project=caller.project)
        if difference is None:
            raise Refused(_not_there(names[kind], id))
        return difference_view(difference)


async def _find(travel: TimeTravel, kind: str, id: str, caller: Principal) -> str:
    """Return the id of what is asked for, by id or number. Raises Refused: 404, or 409 where a number is several's."""
    sought = _sought(id)
    if kind in (CLIENT, travel.kinds[0].name):
        return sought
    found = await travel.find(kind, sought, project=caller.project)
    if not found:
        raise Refused(_not_there(kind, id))
    if len(found) > 1:
        detail = f"more than one {kind} has the number {id!r}: use an id, {' or '.join(found)}"
        raise Refused(Problem(status=409, title="Ambiguous number", detail=detail))
    return found[0]


def _not_there(kind: str, id: str) -> Problem:
    return problem_of_status(404, f"there is no {kind} {id!r}")


def _sought(text: str, *, length_max: int = 2 * ID_LENGTH_MAX) -> str:
    """Return what can be looked for. Raises Refused, 404, for what nothing can be called."""
    if "\0" in text or not 0 < len(text) <= length_max:
        raise Refused(problem_of_status(404, "nothing is called like this"))
    return text


def _moment(at: str | None, position: int | None) -> Moment:
    if at is not None and position is not None:
        raise Refused(problem_of_fields([("at", "is another way to say `position`: give one of them")]))
    return Moment(time=None if at is None else _read_time("at", at), position=position)


def _read_moment(field: str, text: str) -> Moment:
    if not text.startswith("@"):
        return Moment(time=_read_time(field, text))
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(POSITION_MAX))):
        raise Refused(problem_of_fields([(field, "is no position: write @ and a number, such as @1200")]))
    return Moment(position=min(int(digits), POSITION_MAX))


def _read_time(field: str, text: str) -> datetime:
    try:
        return parse_time(_UNESCAPED_PLUS.sub("+", text))
    except (ValueError, OverflowError) as wrong:
        how = "is no time: write RFC 3339 with an offset, such as 2026-11-21T10:00:00Z"
        raise Refused(problem_of_fields([(field, how)])) from wrong


def _cursor_after(id: str) -> str:
    return base64.urlsafe_b64encode(id.encode()).decode().rstrip("=")


def _id_in(cursor: str) -> str:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True).decode()
    except (binascii.Error, ValueError) as wrong:
        raise Refused(BAD_CURSOR) from wrong
    if "\0" in text:
        raise Refused(BAD_CURSOR)
    return text


@contextmanager
def _broken_explained() -> Iterator[None]:
    """Answer history that cannot have happened with a 409 that says what does not fit."""
    try:
        yield
    except InvariantViolated as broken:
        raise Refused(Problem(status=409, title="History does not fit", detail=str(broken))) from broken
