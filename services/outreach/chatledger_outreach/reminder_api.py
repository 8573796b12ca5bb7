"""The HTTP routes of reminders and of clients' tags. Errors are RFC 9457 problems."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from chatledger.access import Principal, Scope
from chatledger.errors import InvalidFields
from chatledger.events.codec import parse_time
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.outreach import ReminderKind
from chatledger.http_api import ID_LENGTH_MAX, Guard, ProblemRoute, Refused, cursor_of, position_of, project_for
from chatledger.http_problems import Problem, problem_of_fields, problem_of_status
from chatledger_outreach.desk import AnotherRequest, Desk, ReminderRequest, Row, Target
from chatledger_outreach.parts import Outreach
from chatledger_outreach.reminders import ReminderStatus, TooLate
from chatledger_outreach.views import (
    ClientTagsView,
    NewReminder,
    NewTags,
    ReminderPage,
    ReminderSummary,
    ReminderView,
    history_views,
    reminder_fields,
)

PAGE_REMINDERS_MAX = 100


Caller = Callable[[Request], Awaitable[Principal]]


def router(outreach: Outreach, guard: Guard) -> APIRouter:
    """Return the routes, below /whatsapp."""
    routes = APIRouter(route_class=ProblemRoute, tags=["reminders"])
    desk = Desk(outreach)
    reader, writer = guard(Scope.READ), guard(Scope.WRITE)
    _add_commands(routes, desk, writer)
    _add_queries(routes, desk, reader)
    _add_tags(routes, desk, writer)
    return routes


def _add_commands(routes: APIRouter, desk: Desk, writer: Caller) -> None:
    @routes.post("/reminders", status_code=201, response_model=ReminderSummary, name="schedule_reminder")
    async def schedule_reminder(
        request: Request,
        response: Response,
        wanted: NewReminder,
        principal: Principal = Depends(writer),
        idempotency_key: Annotated[str | None, Header(max_length=ID_LENGTH_MAX)] = None,
    ) -> ReminderSummary:
        """Schedule a reminder. With an Idempotency-Key header, once however often it is sent."""
        try:
            row = await desk.schedule(_asked(wanted, principal, idempotency_key), principal.project)
        except InvalidFields as wrong:
            raise Refused(problem_of_fields(list(wrong.fields.items()))) from wrong
        except AnotherRequest as wrong:
            raise Refused(_REUSED_KEY) from wrong
        response.headers["location"] = request.url_for("read_reminder", id=row["id"]).path
        return ReminderSummary(**reminder_fields(row))

    @routes.delete("/reminders/{id}", response_model=ReminderView, name="cancel_reminder")
    async def cancel_reminder(id: str, principal: Principal = Depends(writer)) -> ReminderView:
        """Cancel a reminder that is still to come; the answer shows it as it stands then."""
        try:
            return _view(id, await desk.cancel(_known_id(id), principal.project))
        except TooLate as late:
            raise Refused(Problem(status=409, title="Too late", detail=str(late))) from late


def _add_queries(routes: APIRouter, desk: Desk, reader: Caller) -> None:
    @routes.get("/reminders", response_model=ReminderPage, name="list_reminders")
    async def list_reminders(
        project: Annotated[str | None, Query(max_length=ID_LENGTH_MAX)] = None,
        status: ReminderStatus | None = None,
        type: ReminderKind | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_REMINDERS_MAX)] = 50,
        cursor: str | None = None,
        principal: Principal = Depends(reader),
    ) -> ReminderPage:
        """List reminders, newest first; `nextCursor` of one page is the `cursor` of the next."""
        before = None if cursor is None else position_of(cursor)
        wanted = project_for(principal, project)
        rows = await desk.list_reminders(
            project=None if wanted is None else _known_id(wanted),
            status=status.value if status else None,
            kind=type,
            before=before,
            limit=limit + 1,
        )
        page = rows[:limit]
        return ReminderPage(
            reminders=[ReminderSummary(**reminder_fields(row)) for row in page],
            next_cursor=cursor_of(page[-1]["number"]) if len(rows) > limit else None,
        )

    @routes.get("/reminders/{id}", response_model=ReminderView, name="read_reminder")
    async def read_reminder(id: str, principal: Principal = Depends(reader)) -> ReminderView:
        """Read one reminder, with its history."""
        return _view(id, await desk.find(_known_id(id), principal.project))


def _add_tags(routes: APIRouter, desk: Desk, writer: Caller) -> None:
    @routes.put("/clients/{id:path}/tags", response_model=ClientTagsView, name="tag_client")
    async def tag_client(id: str, wanted: NewTags, principal: Principal = Depends(writer)) -> ClientTagsView:
        """Put tags on a client, named by conversation or client id, in place of those before."""
        try:
            conversation = await desk.tag(_known_id(id), wanted.tags, principal.project)
        except InvalidFields as wrong:
            raise Refused(problem_of_status(409, str(wrong))) from wrong
        if conversation is None:
            raise Refused(problem_of_status(404, f"there is no client {id!r}"))
        return ClientTagsView(conversation=conversation, tags=wanted.tags)


_REUSED_KEY = Problem(
    status=422, title="Idempotency key reused", detail="this Idempotency-Key came before, with another request"
)


def _asked(wanted: NewReminder, principal: Principal, idempotency_key: str | None) -> ReminderRequest:
    target = Target(client_id=wanted.client_id, order_id=wanted.order_id, invoice_id=wanted.invoice_id)
    if [target.client_id, target.order_id, target.invoice_id].count(None) != 2:
        raise Refused(problem_of_fields([("clientId", "give exactly one of clientId, orderId and invoiceId")]))
    if idempotency_key is None:
        reminder_id = str(uuid.uuid4())
    else:
        reminder_id = derive_id("reminder", "request", principal.name, principal.project or "", idempotency_key)
    due = parse_time(wanted.scheduled_for)
    return ReminderRequest(id=reminder_id, kind=wanted.type, text=wanted.message, due=due, target=target)


def _view(id: str, found: tuple[Row, list[Envelope]] | None) -> ReminderView:
    if found is None:
        raise Refused(problem_of_status(404, f"there is no reminder {id!r}"))
    row, history = found
    return ReminderView(**reminder_fields(row), history=history_views(history))


def _known_id(id: str) -> str:
    if "\0" in id or len(id) > 2 * ID_LENGTH_MAX:
        raise Refused(problem_of_status(404, "no id looks like this"))
    return id
