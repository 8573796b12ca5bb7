"""The HTTP API of orders and invoices, to be mounted in any FastAPI application.

`router(read_model)` is open and read-only; it shows no addresses, and no phone numbers but where they are a client's
id. `whatsapp_router(...)` is for a shop's staff and programs, by API key, and has the commands. A rule that a command
breaks is a 409; errors are RFC 9457 problems.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from chatledger.adapters.clock import SystemClock
from chatledger.http_api import Guard, ProblemRoute, cursor_of, position_of
from chatledger.ports import Clock
from chatledger_billing.api_invoices import invoice_router
from chatledger_billing.api_orders import order_router
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_stream
from chatledger_billing.lookups import PAGE_MAX, ProjectName, link_to, only, searchable
from chatledger_billing.orders import OrderStatus, order_stream
from chatledger_billing.read_model import ReadModel
from chatledger_billing.views import (
    InvoiceView,
    OrderPage,
    OrderSummary,
    OrderView,
    history_views,
    invoice_view,
    order_fields,
)


def whatsapp_router(
    read_model: ReadModel, commands: BillingCommands, guard: Guard, *, clock: Clock | None = None
) -> APIRouter:
    """Return the routes under /whatsapp. Whoever mounts them opens and closes `read_model` and `commands`."""
    routes = APIRouter(prefix="/whatsapp")
    routes.include_router(order_router(read_model, commands, guard))
    routes.include_router(invoice_router(read_model, commands, guard, clock or SystemClock()))
    return routes


def router(read_model: ReadModel) -> APIRouter:
    """Return the open routes. Whoever mounts them opens and closes `read_model`."""
    routes = APIRouter(route_class=ProblemRoute, tags=["billing"])

    @routes.get("/orders", response_model=OrderPage, name="list_orders")
    async def list_orders(
        request: Request,
        project: ProjectName = None,
        status: OrderStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        cursor: str | None = None,
    ) -> OrderPage:
        """List orders, newest first; `next_cursor` of one page is the `cursor` of the next."""
        before = None if cursor is None else position_of(cursor)
        rows = await read_model.list_orders(project=searchable(project), status=status, before=before, limit=limit + 1)
        page = rows[:limit]
        return OrderPage(
            orders=[
                OrderSummary(**order_fields(row, link_to(request, "read_invoice", row["invoice_id"]))) for row in page
            ],
            next_cursor=cursor_of(page[-1]["position"]) if len(rows) > limit else None,
        )

    @routes.get("/orders/{id}", response_model=OrderView, name="read_order")
    async def read_order(request: Request, id: str, project: ProjectName = None) -> OrderView:
        """Read one order, by its id or its number."""
        row = only("order", id, await read_model.find_orders(searchable(id), searchable(project)))
        history = await read_model.history(order_stream(row["id"]), row["version"])
        href = link_to(request, "read_invoice", row["invoice_id"])
        return OrderView(**order_fields(row, href), history=history_views(history))

    @routes.get("/invoices/{id}", response_model=InvoiceView, name="read_invoice")
    async def read_invoice(request: Request, id: str, project: ProjectName = None) -> InvoiceView:
        """Read one invoice, by its id or its number. Each project counts its own: name it where two have the number."""
        row = only("invoice", id, await read_model.find_invoices(searchable(id), searchable(project)))
        history = await read_model.history(invoice_stream(row["id"]), row["version"])
        return invoice_view(row, history, link_to(request, "read_order", row["order_id"]) or "")

    return routes
