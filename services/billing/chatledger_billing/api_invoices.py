"""The routes /whatsapp/invoices: lists, one invoice, its PDF, and the commands pay, refund and void."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from chatledger.access import Principal, Scope
from chatledger.errors import ConfigurationError
from chatledger.http_api import Guard, ProblemRoute, Refused, cursor_of, position_of, project_for
from chatledger.http_problems import problem_of_fields, problem_of_status
from chatledger.ports import Clock
from chatledger_billing.bodies import AmountBody, PaymentBody, RefundBody, VoidBody
from chatledger_billing.commands import BillingCommands
from chatledger_billing.decisions import Decision
from chatledger_billing.detailed_shapes import DetailedInvoiceView, InvoicePage, InvoiceSummary
from chatledger_billing.detailed_views import detailed_invoice_view, invoice_fields, row_of_invoice
from chatledger_billing.invoices import invoice_stream
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
from chatledger_billing.pdf import invoice_text, render
from chatledger_billing.read_model import ReadModel
from chatledger_billing.views import Row

PDFS_AT_ONCE_MAX = 2
"""Each takes a core while it is made."""
CLOCKS_APART = timedelta(minutes=5)
"""How far a caller's clock may be ahead of ours."""
InvoiceFilter = Literal["issued", "partly_paid", "paid", "void", "overdue"]


def invoice_router(read_model: ReadModel, commands: BillingCommands, guard: Guard, clock: Clock) -> APIRouter:
    """Return the routes of invoices, for callers whose key `guard` knows. `clock` tells which are overdue."""
    routes = APIRouter(route_class=ProblemRoute, tags=["invoices"])
    _add_reading(routes, read_model, guard, clock)
    _add_printing(routes, read_model, commands, guard, clock)
    _add_commands(routes, read_model, commands, guard, clock)
    return routes


def _add_reading(routes: APIRouter, read_model: ReadModel, guard: Guard, clock: Clock) -> None:
    may_read = guard(Scope.READ)

    @routes.get("/invoices", response_model=InvoicePage, name="list_whatsapp_invoices")
    async def list_invoices(
        request: Request,
        project: ProjectName = None,
        status: InvoiceFilter | None = None,
        client: ClientId = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        cursor: str | None = None,
        caller: Principal = Depends(may_read),
    ) -> InvoicePage:
        """List invoices, newest first. Those that are `overdue` are `issued` or `partly_paid` as well."""
        today = clock.now().date()
        rows = await read_model.list_invoices(
            project=project_for(caller, searchable(project)),
            status=None if status == "overdue" else status,
            overdue_before=today if status == "overdue" else None,
            client=client_of(client),
            before=None if cursor is None else position_of(cursor),
            limit=limit + 1,
        )
        page = rows[:limit]
        return InvoicePage(
            invoices=[InvoiceSummary(**_fields(request, row, clock)) for row in page],
            next_cursor=cursor_of(page[-1]["position"]) if len(rows) > limit else None,
        )


def _add_printing(
    routes: APIRouter, read_model: ReadModel, commands: BillingCommands, guard: Guard, clock: Clock
) -> None:
    may_read = guard(Scope.READ)
    printing = asyncio.Semaphore(PDFS_AT_ONCE_MAX)

    @routes.get("/invoices/{id}.pdf", response_class=Response, name="print_whatsapp_invoice")
    async def print_invoice(id: str, project: ProjectName = None, caller: Principal = Depends(may_read)) -> Response:
        """Print one invoice, by its id or its number. 501 where the extra `pdf` is not installed."""
        row = await _find(read_model, id, project, caller)
        text = invoice_text(row, commands.projects.get(row["project"]), today=clock.now().date())
        try:
            async with printing:
                pdf = await asyncio.to_thread(render, text)
        except ConfigurationError as wrong:
            raise Refused(problem_of_status(501, str(wrong))) from wrong
        headers = {"content-disposition": f'inline; filename="{row["number"]}.pdf"'}
        return Response(pdf, media_type="application/pdf", headers=headers)

    # After the PDF: its path would fit here as well.
    @routes.get("/invoices/{id}", response_model=DetailedInvoiceView, name="read_whatsapp_invoice")
    async def read_invoice(
        request: Request, id: str, project: ProjectName = None, caller: Principal = Depends(may_read)
    ) -> DetailedInvoiceView:
        """Read one invoice, by its id or its number, with its payments and its history."""
        row = await _find(read_model, id, project, caller)
        history = await read_model.history(invoice_stream(row["id"]), row["version"])
        return detailed_invoice_view(row, history, _fields(request, row, clock))


def _add_commands(
    routes: APIRouter, read_model: ReadModel, commands: BillingCommands, guard: Guard, clock: Clock
) -> None:
    may_write = guard(Scope.WRITE)

    @routes.post("/invoices/{id}/payments", response_model=DetailedInvoiceView)
    async def pay(
        request: Request,
        id: str,
        body: PaymentBody,
        project: ProjectName = None,
        caller: Principal = Depends(may_write),
    ) -> DetailedInvoiceView:
        """Record a payment. The same reference and amount again changes nothing; more than the balance is refused."""
        row = await _find(read_model, id, project, caller)
        _require_come(body, clock)
        with rules_explained():
            changed = await commands.pay(
                row["id"],
                reference=body.reference,
                amount_minor=_minor(body, row),
                method=body.method,
                paid_at=body.paid_at,
                by=caller.name,
            )
        return answer(request, row, changed)

    @routes.post("/invoices/{id}/refunds", response_model=DetailedInvoiceView)
    async def refund(
        request: Request, id: str, body: RefundBody, project: ProjectName = None, caller: Principal = Depends(may_write)
    ) -> DetailedInvoiceView:
        """Record that money went back: at most what was paid, under a reference of its own."""
        row = await _find(read_model, id, project, caller)
        with rules_explained():
            changed = await commands.refund(
                row["id"],
                reference=body.reference,
                amount_minor=_minor(body, row),
                reason=body.reason,
                by=caller.name,
            )
        return answer(request, row, changed)

    @routes.post("/invoices/{id}/void", response_model=DetailedInvoiceView)
    async def void(
        request: Request, id: str, body: VoidBody, project: ProjectName = None, caller: Principal = Depends(may_write)
    ) -> DetailedInvoiceView:
        """Take an invoice back by a credit note. What was paid stays until it is refunded."""
        row = await _find(read_model, id, project, caller)
        with rules_explained():
            changed = await commands.void(row["id"], reason=body.reason, by=caller.name)
        return answer(request, row, changed)

    def answer(request: Request, found: Row, changed: list[Decision]) -> DetailedInvoiceView:
        row = row_of_invoice(changed, found["number_of_order"])
        return detailed_invoice_view(row, changed, _fields(request, row, clock))


async def _find(read_model: ReadModel, id: str, project: str | None, caller: Principal) -> Row:
    return only("invoice", id, await read_model.find_invoices(searchable(id), project_for(caller, searchable(project))))


def _fields(request: Request, row: Row, clock: Clock) -> dict[str, Any]:
    return invoice_fields(
        row,
        order_href=link_to(request, "read_whatsapp_order", row["order_id"]) or "",
        pdf_href=link_to(request, "print_whatsapp_invoice", row["id"]) or "",
        today=clock.now().date(),
    )


def _require_come(body: PaymentBody, clock: Clock) -> None:
    """Raise Refused, 422, for money that is still to come: a cheque of next month pays nothing today."""
    if body.paid_at is not None and body.paid_at > clock.now() + CLOCKS_APART:
        raise Refused(problem_of_fields([("paidAt", "is in the future: record a payment when the money has come")]))


def _minor(body: AmountBody, row: Row) -> int:
    """Return a body's amount in the invoice's currency. Raises Refused, 422, when it is none."""
    try:
        return body.minor(row["currency"])
    except ValueError as wrong:
        raise Refused(problem_of_fields([("amount", str(wrong))])) from wrong
