"""The HTTP API for a shop's staff: keys and scopes, lists, commands and what they answer, on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from chatledger.access import Principal, Scope
from chatledger.adapters.clock import ManualClock
from chatledger.http_api import Guard
from chatledger_billing.api import router, whatsapp_router
from chatledger_billing.app import set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.read_model import ReadModel
from chatledger_billing.store import postgres_store
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    RememberedPublisher,
    billing_on,
    cause,
    order_records,
    placed,
    record,
    relay_all,
    unpriced,
)

pytestmark = pytest.mark.postgres
TWO_PROJECTS = {**PROJECTS, "other": replace(PROJECTS["order-form"], name="other")}
KEYS = {
    "clk_reader": Principal(name="reader", scope=Scope.READ),
    "clk_writer": Principal(name="writer", scope=Scope.WRITE),
    "clk_order_form": Principal(name="one shop", scope=Scope.WRITE, project="order-form"),
}
ORDER, INVOICE = placed(1).order_id, invoice_id_of(placed(1).order_id)


class FakeKeyRing:
    """Knows KEYS."""

    async def principal(self, key: str) -> Principal | None:
        return KEYS.get(key)


class Api:
    """The API over HTTP, as the owner of a key calls it; time stands at NOON."""

    def __init__(self, client: httpx.AsyncClient, url: str, clock: ManualClock) -> None:
        self.client, self.url, self.clock = client, url, clock

    async def get(self, path: str, /, *, key: str = "clk_reader", **query: Any) -> httpx.Response:
        return await self.client.get(path, params=query, headers={"authorization": f"Bearer {key}"})

    async def post(self, path: str, body: object = None, key: str = "clk_writer") -> httpx.Response:
        return await self.client.post(path, json=body, headers={"authorization": f"Bearer {key}"})

    async def relayed(self) -> None:
        """Let the relay catch up."""
        with billing_on(postgres_store(self.url), RememberedPublisher(), projects=TWO_PROJECTS) as billing:
            await relay_all(billing, self.url)


@asynccontextmanager
async def api_on(url: str, clients: int = 1) -> AsyncIterator[Api]:
    """The API over orders of so many clients, and one of another project."""
    await set_up_database(url)
    clock, application = ManualClock(NOON), FastAPI()
    with billing_on(postgres_store(url), RememberedPublisher(), projects=TWO_PROJECTS) as billing:
        other = record(cause(placed("other"), "other", project="other"), clients)
        await billing.biller.handle([*order_records(range(1, clients + 1)), other])
        await relay_all(billing, url)
    async with ReadModel(url) as read_model, BillingCommands(url, PROJECTS, clock=clock) as commands:
        application.include_router(router(read_model))
        application.include_router(whatsapp_router(read_model, commands, Guard(FakeKeyRing()), clock=clock))
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://billing") as client:
            yield Api(client, url, clock)


READS = ("/whatsapp/orders", f"/whatsapp/orders/{ORDER}", "/whatsapp/invoices", f"/whatsapp/invoices/{INVOICE}")
WRITES = (
    f"/whatsapp/orders/{ORDER}/cancel",
    f"/whatsapp/orders/{ORDER}/advance",
    f"/whatsapp/invoices/{INVOICE}/payments",
    f"/whatsapp/invoices/{INVOICE}/refunds",
    f"/whatsapp/invoices/{INVOICE}/void",
)


async def test_every_route_needs_a_key_and_every_command_one_that_may_write(postgres_url: str) -> None:
    async with api_on(postgres_url) as api:
        for path in (*READS, f"/whatsapp/invoices/{INVOICE}.pdf"):
            assert (await api.client.get(path)).status_code == 401
            assert (await api.get(path, key="clk_unknown")).status_code == 401
            assert (await api.get(path, key="clk_reader")).status_code == 200
        for path in WRITES:
            body = {"reason": "wrong"} if path.endswith(("cancel", "void")) else {}
            if path.endswith(("payments", "refunds")):
                body = {"reference": "a", "amount": "1.00"} | ({"method": "upi"} if path.endswith("payments") else {})
            assert (await api.client.post(path, json=body)).status_code == 401
            refused = await api.post(path, body, key="clk_reader")
            assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert (await api.get(f"/whatsapp/orders/{ORDER}")).json()["status"] == "confirmed"


async def test_a_key_of_one_project_sees_no_other(postgres_url: str) -> None:
    theirs = placed("other").order_id
    async with api_on(postgres_url) as api:
        for path in (f"/whatsapp/orders/{theirs}", f"/whatsapp/invoices/{invoice_id_of(theirs)}"):
            assert (await api.get(path)).status_code == 200
            assert (await api.get(path, key="clk_order_form")).status_code == 404
            assert (await api.get(path, key="clk_order_form", project="other")).status_code == 403
        assert (
            await api.get(f"/whatsapp/invoices/{invoice_id_of(theirs)}.pdf", key="clk_order_form")
        ).status_code == 404
        cancelled = await api.post(f"/whatsapp/orders/{theirs}/cancel", {"reason": "mine"}, key="clk_order_form")
        voided = await api.post(
            f"/whatsapp/invoices/{invoice_id_of(theirs)}/void", {"reason": "mine"}, key="clk_order_form"
        )
        assert (cancelled.status_code, voided.status_code) == (404, 404)
        listed = (await api.get("/whatsapp/orders", key="clk_order_form")).json()["orders"]
        assert [each["project"] for each in listed] == ["order-form"]
        for what in ("orders", "invoices"):
            assert (await api.get(f"/whatsapp/{what}", key="clk_order_form", project="other")).status_code == 403
        # Both projects have this number; the key tells which is meant.
        assert (await api.get("/whatsapp/invoices/INV-2026-000001")).status_code == 409
        assert (await api.get("/whatsapp/invoices/INV-2026-000001", key="clk_order_form")).json()["id"] == INVOICE


@pytest.mark.parametrize("what", ["orders", "invoices"])
async def test_lists_are_paged_newest_first_and_filtered(postgres_url: str, what: str) -> None:
    async with api_on(postgres_url, clients=5) as api:
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 2, "project": "order-form"}
        while True:
            page = (await api.get(f"/whatsapp/{what}", **query)).json()
            seen += [each["clientId"] for each in page[what]]
            if page["nextCursor"] is None:
                break
            query["cursor"] = page["nextCursor"]
        assert seen == ["5", "4", "3", "2", "1"]

        async def found(**query: str) -> int:
            return len((await api.get(f"/whatsapp/{what}", **query)).json()[what])

        assert await found(client="3") == 1
        assert await found(client="another") == 0
        misspelt = await api.get(f"/whatsapp/{what}", clientId="3")
        assert misspelt.status_code == 422
        assert "client, cursor, limit, project, status" in misspelt.json()["detail"]
        assert await found(project="other") == 1
        assert await found(status="confirmed" if what == "orders" else "issued") == 6
        assert await found(status="cancelled" if what == "orders" else "void") == 0
        assert (await api.get(f"/whatsapp/{what}", status="lost")).status_code == 422
        assert (await api.get(f"/whatsapp/{what}", cursor="!!")).status_code == 422
        assert (await api.get(f"/whatsapp/{what}", limit=101)).status_code == 422


async def test_an_order_is_advanced_until_it_is_delivered(postgres_url: str) -> None:
    async with api_on(postgres_url) as api:
        path = f"/whatsapp/orders/{placed(1).order_number}"
        assert (await api.post(f"{path}/advance")).json()["status"] == "processing"
        assert (await api.post(f"{path}/advance", {"to": "shipped"})).json()["status"] == "shipped"
        skipped = await api.post(f"{path}/advance", {"to": "shipped"})
        assert (skipped.status_code, skipped.json()["type"]) == (409, "urn:chatledger:problem:rule-broken")
        assert "becomes delivered next, not shipped" in skipped.json()["detail"]
        too_late = await api.post(f"{path}/cancel", {"reason": "changed"})
        assert (too_late.status_code, "until it is shipped" in too_late.json()["detail"]) == (409, True)
        answered = (await api.post(f"{path}/advance", {})).json()
        await api.relayed()
        assert (await api.get(path)).json() == answered
        assert [(each["type"], each["detail"]) for each in answered["history"]] == [
            ("order.created", None),
            ("order.confirmed", None),
            ("order.advanced", "processing"),
            ("order.advanced", "shipped"),
            ("order.advanced", "delivered"),
        ]


async def test_a_cancelled_order_voids_its_invoice(postgres_url: str) -> None:
    async with api_on(postgres_url) as api:
        answered = (await api.post(f"/whatsapp/orders/{ORDER}/cancel", {"reason": "out of stock"})).json()
        assert (answered["status"], answered["reason"]) == ("cancelled", "out of stock")
        again = await api.post(f"/whatsapp/orders/{ORDER}/cancel", {"reason": "out of stock"})
        assert (again.status_code, again.json()["detail"]) == (409, "this order is cancelled already")
        await api.relayed()
        assert (await api.get(f"/whatsapp/orders/{ORDER}")).json() == answered
        invoice = (await api.get(answered["invoice"]["href"])).json()
        assert (invoice["status"], invoice["balance"]["minor"]) == ("void", 0)
        assert invoice["creditNote"] == {"number": "CN-2026-000001", "reason": "out of stock"}
        payment = {"reference": "late", "amountMinor": 1, "method": "upi"}
        refused = await api.post(f"/whatsapp/invoices/{INVOICE}/payments", payment)
        assert (refused.status_code, refused.json()["detail"]) == (409, "a void invoice is not paid")


async def test_payments_are_taken_once_and_up_to_the_balance(postgres_url: str) -> None:
    path = f"/whatsapp/invoices/{INVOICE}"
    first = {"reference": "upi-1", "amount": "500.00", "method": "upi", "paidAt": "2026-11-21T10:00:00+05:30"}
    async with api_on(postgres_url) as api:
        answers = [await api.post(f"{path}/payments", first) for _ in range(2)]
        assert [each.status_code for each in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        paid = answers[0].json()
        assert (paid["status"], paid["paid"]["amount"], paid["balance"]["amount"]) == (
            "partly_paid",
            "500.00",
            "250.00",
        )
        assert [each["paidAt"] for each in paid["payments"]] == ["2026-11-21T10:00:00+05:30"]
        other = await api.post(f"{path}/payments", {**first, "amount": "500.01"})
        assert (other.status_code, "recorded already, over 500.00 INR" in other.json()["detail"]) == (409, True)
        more = await api.post(f"{path}/payments", {"reference": "upi-2", "amount": "250.01", "method": "upi"})
        assert (more.status_code, "balance, and that is 250.00 INR" in more.json()["detail"]) == (409, True)
        rest = (await api.post(f"{path}/payments", {"reference": "2", "amount_minor": 25_000, "method": "cash"})).json()
        assert (rest["status"], rest["balance"]["minor"]) == ("paid", 0)
        back = (await api.post(f"{path}/refunds", {"reference": "back", "amount": "750"})).json()
        assert (back["status"], back["paid"]["minor"], back["refunds"][0]["amount"]["amount"]) == (
            "issued",
            0,
            "750.00",
        )
        too_much = await api.post(f"{path}/refunds", {"reference": "more", "amount": "0.01", "reason": "kind"})
        assert too_much.status_code == 409
        voided = (await api.post(f"{path}/void", {"reason": "sent back"})).json()
        assert voided["creditNote"] == {"number": "CN-2026-000001", "reason": "sent back"}
        assert (await api.post(f"{path}/void", {"reason": "again"})).status_code == 409
        await api.relayed()
        assert (await api.get(path)).json() == voided
        assert [each["detail"] for each in voided["history"]] == [None, "upi-1", "2", None, "back", "sent back"]
        open_view = (await api.client.get(f"/invoices/{INVOICE}")).json()
        assert (open_view["status"], "payments" in open_view) == ("void", False)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("payments", {"reference": "a", "method": "upi"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "1.00", "amountMinor": 100}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": 5000}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "1.001"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "-1"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "NaN"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "five"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "1_00"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "1e2"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "١٠"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amount": "0.00"}, "amount"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 1.5}, "amountMinor"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": True}, "amountMinor"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 0}, "amountMinor"),
        ("payments", {"reference": "", "method": "upi", "amountMinor": 1}, "reference"),
        ("payments", {"reference": " ", "method": "upi", "amountMinor": 1}, "reference"),
        ("payments", {"reference": "a\0", "method": "upi", "amountMinor": 1}, "reference"),
        ("payments", {"reference": "a" * 201, "method": "upi", "amountMinor": 1}, "reference"),
        ("payments", {"reference": "a", "amountMinor": 1}, "method"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 1, "paidAt": "2026-11-22"}, "paidAt"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 1, "paidAt": "0001-01-01T00:00Z"}, "paidAt"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 1, "paidAt": "2026-11-22T10:00Z"}, "future"),
        ("payments", {"reference": "a", "method": "upi", "amountMinor": 1, "payedAt": "2026-11-22T10:00Z"}, "payedAt"),
        ("void", {}, "reason"),
        ("void", None, "body"),
    ],
)
async def test_a_body_that_cannot_be_meant_names_its_field(postgres_url: str, path: str, body, field: str) -> None:
    async with api_on(postgres_url) as api:
        answer = await api.post(f"/whatsapp/invoices/{INVOICE}/{path}", body)
        assert answer.status_code == 422
        assert field in answer.json()["detail"]
        assert (await api.get(f"/whatsapp/invoices/{INVOICE}")).json()["paid"]["minor"] == 0


async def test_an_invoice_is_overdue_from_the_day_after_it_was_due(postgres_url: str) -> None:
    async with api_on(postgres_url, clients=2) as api:

        async def overdue() -> list[str]:
            page = (await api.get("/whatsapp/invoices", status="overdue", project="order-form")).json()
            assert all(each["overdue"] for each in page["invoices"])
            return [each["clientId"] for each in page["invoices"]]

        api.clock.time = NOON + timedelta(days=14)
        assert await overdue() == []
        assert (await api.get(f"/whatsapp/invoices/{INVOICE}")).json()["overdue"] is False
        api.clock.time = NOON + timedelta(days=15)
        assert await overdue() == ["2", "1"]
        await api.post(f"/whatsapp/invoices/{INVOICE}/payments", {"reference": "a", "amount": "750", "method": "upi"})
        await api.relayed()
        assert await overdue() == ["2"]
        assert (await api.get(f"/whatsapp/invoices/{INVOICE}")).json()["overdue"] is False


@pytest.mark.parametrize("path", ["orders/none", "invoices/none", "invoices/none.pdf", "orders/a%00b"])
async def test_what_is_not_there_is_not_found(postgres_url: str, path: str) -> None:
    async with api_on(postgres_url) as api:
        answer = await api.get(f"/whatsapp/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_an_order_without_a_price_has_no_amounts_and_no_invoice(postgres_url: str) -> None:
    async with api_on(postgres_url) as api:
        with billing_on(postgres_store(postgres_url), RememberedPublisher()) as billing:
            await billing.biller.handle([record(cause(unpriced(placed(7)), 7), 7)])
            await relay_all(billing, postgres_url)
        path = f"/whatsapp/orders/{placed(7).order_id}"
        order = (await api.get(path)).json()
        assert (order["total"], order["tax"], order["invoice"]) == (None, None, None)
        assert (await api.post(f"{path}/cancel", {"reason": "gone"})).json()["invoice"] is None
