"""The HTTP API of orders and invoices: `router(read_model)`, to be mounted in any FastAPI application. Read only.

Commands on orders and payments of invoices are further routes here; a rule that one breaks is a 409. Errors are
RFC 9457 problems. Addresses and phone numbers are not shown.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from chatledger.errors import OutsideUnavailable
from chatledger.http_problems import MEDIA_TYPE, Problem, problem_of_fields, problem_of_status
from chatledger_billing.invoices import invoice_stream
from chatledger_billing.orders import OrderStatus, order_stream
from chatledger_billing.read_model import ReadModel, Row
from chatledger_billing.views import (
    InvoiceView,
    OrderPage,
    OrderSummary,
    OrderView,
    history_views,
    invoice_view,
    order_fields,
)

PAGE_ORDERS_MAX = 100
POSITION_MAX = 2**63 - 1
ID_LENGTH_MAX = 200
RETRY_AFTER_S = 5
UNAVAILABLE = Problem(
    status=503,
    title="Billing unavailable",
    detail="orders and invoices cannot be read now; try again later",
    headers={"retry-after": str(RETRY_AFTER_S)},
)
BAD_CURSOR = problem_of_fields([("cursor", "take it from next_cursor of the page before")])
_log = structlog.get_logger()
ProjectName = Annotated[str | None, Query(description="Only this project's.", max_length=ID_LENGTH_MAX)]


class Refused(Exception):
    """A request that cannot be served, and the problem to answer it with."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class _ProblemRoute(APIRoute):
    """Answers with a problem whatever goes wrong in a route, in whichever application it is mounted."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except Refused as refused:
                problem = refused.problem
            except RequestValidationError as wrong:
                problem = problem_of_fields([(str(each["loc"][-1]), str(each["msg"])) for each in wrong.errors()])
            except OutsideUnavailable as wrong:
                # What Postgres said names addresses inside; it is for the log alone.
                _log.warning("billing.unavailable", path=request.url.path, error=str(wrong))
                problem = UNAVAILABLE
            body = problem.body(request.url.path)
            return Response(body, problem.status, {**problem.headers, "content-type": MEDIA_TYPE})

        return handle_or_explain


def router(read_model: ReadModel) -> APIRouter:
    """Return the routes. Whoever mounts them opens and closes `read_model`."""
    routes = APIRouter(route_class=_ProblemRoute, tags=["billing"])

    @routes.get("/orders", response_model=OrderPage, name="list_orders")
    async def list_orders(
        request: Request,
        project: ProjectName = None,
        status: OrderStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_ORDERS_MAX)] = 50,
        cursor: str | None = None,
    ) -> OrderPage:
        """List orders, newest first; `next_cursor` of one page is the `cursor` of the next."""
        before = None if cursor is None else position_of(cursor)
        rows = await read_model.list_orders(project=_searched(project), status=status, before=before, limit=limit + 1)
        page = rows[:limit]
        return OrderPage(
            orders=[OrderSummary(**order_fields(row, _invoice_href(request, row))) for row in page],
            next_cursor=cursor_of(page[-1]["position"]) if len(rows) > limit else None,
        )

    @routes.get("/orders/{id}", response_model=OrderView, name="read_order")
    async def read_order(request: Request, id: str, project: ProjectName = None) -> OrderView:
        """Read one order, by its id or its number."""
        row = _only("order", id, await read_model.find_orders(_searchable(id), _searched(project)))
        history = await read_model.history(order_stream(row["id"]))
        return OrderView(**order_fields(row, _invoice_href(request, row)), history=history_views(history))

    @routes.get("/invoices/{id}", response_model=InvoiceView, name="read_invoice")
    async def read_invoice(request: Request, id: str, project: ProjectName = None) -> InvoiceView:
        """Read one invoice, by its id or its number. Each project counts its own: name it where two have the number."""
        row = _only("invoice", id, await read_model.find_invoices(_searchable(id), _searched(project)))
        history = await read_model.history(invoice_stream(row["id"]))
        return invoice_view(row, history, request.url_for("read_order", id=row["order_id"]).path)

    return routes


def cursor_of(position: int) -> str:
    """Return the cursor of the page that follows `position`: opaque, so that nobody counts on what is in it."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def position_of(cursor: str) -> int:
    """Return the position in a cursor. Raises Refused when it is none of ours."""
    try:
        position = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as wrong:
        raise Refused(BAD_CURSOR) from wrong
    if not 0 <= position <= POSITION_MAX:
        raise Refused(BAD_CURSOR)
    return position


def _searchable(text: str) -> str:
    if "\0" in text or len(text) > ID_LENGTH_MAX:
        raise Refused(problem_of_status(404, "no id, number or project looks like this"))
    return text


def _searched(project: str | None) -> str | None:
    return None if project is None else _searchable(project)


def _only(kind: str, id: str, rows: list[Row]) -> Row:
    if not rows:
        raise Refused(problem_of_status(404, f"there is no {kind} with the id or number {id!r}"))
    if len(rows) > 1 and rows[0]["id"] != id:
        detail = f"more than one {kind} has the number {id!r}: add ?project= or use the id"
        raise Refused(Problem(status=409, title="Ambiguous number", detail=detail))
    return rows[0]


def _invoice_href(request: Request, row: Row) -> str | None:
    if row["invoice_id"] is None:
        return None
    return request.url_for("read_invoice", id=row["invoice_id"]).path
