"""The routes /whatsapp/orders: lists, one order with its history, and the commands cancel and advance."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from chatledger.access import Principal, Scope
from chatledger.http_api import Guard, ProblemRoute, cursor_of, position_of, project_for
from chatledger_billing.bodies import AdvanceBody, CancelBody
from chatledger_billing.commands import BillingCommands, ChangedOrder
from chatledger_billing.detailed_shapes import DetailedOrderPage, DetailedOrderSummary, DetailedOrderView
from chatledger_billing.detailed_views import detailed_history, detailed_order_fields, row_of_order
from chatledger_billing.lookups import (
    PAGE_MAX,
    ClientId,
    ProjectName,
    client_of,
    link_to,
    only,
    rules_explained,
    searchable,
)
from chatledger_billing.orders import OrderStatus, order_stream
from chatledger_billing.read_model import ReadModel, Row


def order_router(read_model: ReadModel, commands: BillingCommands, guard: Guard) -> APIRouter:
    """Return the routes of orders, for callers whose key `guard` knows."""
    routes = APIRouter(route_class=ProblemRoute, tags=["orders"])
    _add_reading(routes, read_model, guard)
    _add_commands(routes, read_model, commands, guard)
    return routes


def _add_reading(routes: APIRouter, read_model: ReadModel, guard: Guard) -> None:
    may_read = guard(Scope.READ)

    @routes.get("/orders", response_model=DetailedOrderPage, name="list_whatsapp_orders")
    async def list_orders(
        request: Request,
        project: ProjectName = None,
        status: OrderStatus | None = None,
        client: ClientId = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        cursor: str | None = None,
        caller: Principal = Depends(may_read),
    ) -> DetailedOrderPage:
        """List orders, newest first; `nextCursor` of one page is the `cursor` of the next."""
        rows = await read_model.list_orders(
            project=project_for(caller, searchable(project)),
            status=status,
            client=client_of(client),
            before=None if cursor is None else position_of(cursor),
            limit=limit + 1,
        )
        page = rows[:limit]
        return DetailedOrderPage(
            orders=[DetailedOrderSummary(**detailed_order_fields(row, _invoice_href(request, row))) for row in page],
            next_cursor=cursor_of(page[-1]["position"]) if len(rows) > limit else None,
        )

    @routes.get("/orders/{id}", response_model=DetailedOrderView, name="read_whatsapp_order")
    async def read_order(
        request: Request, id: str, project: ProjectName = None, caller: Principal = Depends(may_read)
    ) -> DetailedOrderView:
        """Read one order, by its id or its number, with its history."""
        row = await _find(read_model, id, project, caller)
        history = await read_model.history(order_stream(row["id"]), row["version"])
        fields = detailed_order_fields(row, _invoice_href(request, row))
        return DetailedOrderView(**fields, history=detailed_history(history))


def _add_commands(routes: APIRouter, read_model: ReadModel, commands: BillingCommands, guard: Guard) -> None:
    may_write = guard(Scope.WRITE)

    @routes.post("/orders/{id}/cancel", response_model=DetailedOrderView)
    async def cancel(
        request: Request, id: str, body: CancelBody, project: ProjectName = None, caller: Principal = Depends(may_write)
    ) -> DetailedOrderView:
        """Cancel an order that is not shipped, and void its invoice. What was paid stays until it is refunded."""
        row = await _find(read_model, id, project, caller)
        with rules_explained():
            return _changed(request, await commands.cancel(row["id"], reason=body.reason, by=caller.name))

    @routes.post("/orders/{id}/advance", response_model=DetailedOrderView)
    async def advance(
        request: Request,
        id: str,
        body: AdvanceBody | None = None,
        project: ProjectName = None,
        caller: Principal = Depends(may_write),
    ) -> DetailedOrderView:
        """Bring an order to its next status: processing, shipped, delivered."""
        row = await _find(read_model, id, project, caller)
        with rules_explained():
            return _changed(request, await commands.advance(row["id"], to=body.to if body else None, by=caller.name))


async def _find(read_model: ReadModel, id: str, project: str | None, caller: Principal) -> Row:
    return only("order", id, await read_model.find_orders(searchable(id), project_for(caller, searchable(project))))


def _changed(request: Request, changed: ChangedOrder) -> DetailedOrderView:
    row = row_of_order(changed.order, changed.invoice)
    fields = detailed_order_fields(row, link_to(request, "read_whatsapp_invoice", row["invoice_id"]))
    return DetailedOrderView(**fields, history=detailed_history(changed.order))


def _invoice_href(request: Request, row: Row) -> str | None:
    return link_to(request, "read_whatsapp_invoice", row["invoice_id"])
