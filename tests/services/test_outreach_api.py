"""The HTTP API of reminders and tags, through a FastAPI application, on a real Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from chatledger.access import KEY_PREFIX, Principal, Scope
from chatledger.adapters.clock import ManualClock
from chatledger.events import dialog, orders, outreach
from chatledger.events.inbound import NoticeDue
from chatledger.http_api import Guard
from chatledger.topics import BILLING, DIALOG, INBOUND, OUTREACH
from chatledger_outreach.api import router
from chatledger_outreach.app import OutreachService
from chatledger_outreach.assembly import opened
from tests.support.outreach import (
    CLIENT,
    NOW,
    PHONE,
    PROJECTS,
    Line,
    eventually,
    handled,
    invoice,
    order,
    rows,
    told,
    worker,
)

pytestmark = pytest.mark.postgres
PRINCIPALS = {
    f"{KEY_PREFIX}writer": Principal(name="writer", scope=Scope.WRITE),
    f"{KEY_PREFIX}reader": Principal(name="reader", scope=Scope.READ),
    f"{KEY_PREFIX}other": Principal(name="other", scope=Scope.WRITE, project="order-form"),
    f"{KEY_PREFIX}store": Principal(name="store", scope=Scope.WRITE, project="store"),
}
REMINDERS = "/whatsapp/reminders"
TOMORROW = NOW + timedelta(days=1)


class Keys:
    async def principal(self, key: str) -> Principal | None:
        return PRINCIPALS.get(key)


@dataclass(frozen=True, kw_only=True)
class Api:
    http: httpx.AsyncClient
    service: OutreachService
    line: Line
    clock: ManualClock

    async def call(self, method: str, path: str, *, key: str = "writer", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEY_PREFIX}{key}"} | options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **options)


@asynccontextmanager
async def api(database: str) -> AsyncIterator[Api]:
    line, clock = Line(), ManualClock(NOW)
    async with worker(database, line, clock=clock) as service:
        line.tell(DIALOG, told(dialog.ConversationStarted(flow="store", language="en")))
        line.tell(BILLING, order(), invoice(due_on=date(2027, 2, 1)))
        await handled(service, line)
        await eventually(lambda: line.on(OUTREACH), "the payment reminder")
        app = FastAPI()
        app.include_router(router(service.outreach, Guard(Keys())))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", trust_env=False) as http:
            yield Api(http=http, service=service, line=line, clock=clock)


def wanted(**changes: Any) -> dict[str, Any]:
    body = {
        "type": "CUSTOM",
        "message": "Your cement is ready.",
        "scheduledFor": "2026-11-22T17:30:00+05:30",
        "clientId": PHONE,
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


async def test_a_reminder_is_scheduled_shown_and_sent_at_its_time(postgres_url):
    async with api(postgres_url) as at:
        made = await at.call("POST", REMINDERS, json=wanted())
        shown = await at.call("GET", made.headers["location"], key="reader")
        assert at.line.on(INBOUND) == []
        at.clock.advance(timedelta(days=1, minutes=1))
        at.service.sweep.wake()
        await eventually(lambda: at.line.on(INBOUND, NoticeDue), "it is sent")
        later = await at.call("GET", made.headers["location"])
    assert made.status_code == 201
    view = made.json()
    assert made.headers["location"] == f"{REMINDERS}/{view['id']}"
    assert (view["type"], view["message"], view["status"]) == ("CUSTOM", "Your cement is ready.", "scheduled")
    assert (view["conversation"], view["about"], view["scheduledFor"]) == (CLIENT, None, "2026-11-22T12:00:00Z")
    assert shown.json() == view | {
        "history": [{"version": 1, "type": "reminder.scheduled", "time": "2026-11-21T12:00:00Z"}]
    }
    assert [each["type"] for each in later.json()["history"]] == ["reminder.scheduled", "reminder.due"]
    [notice] = at.line.data(INBOUND, NoticeDue)
    assert (notice.text, notice.purpose, notice.promotional) == ("Your cement is ready.", "custom", False)
    assert [each.conversation for each in at.line.on(INBOUND)] == [CLIENT]


@pytest.mark.parametrize(
    ("target", "about"),
    [
        ({"orderId": "ord-1"}, "ord-1"),
        ({"orderId": "N-ord-1"}, "ord-1"),
        ({"invoiceId": "inv-1"}, "inv-1"),
        ({"invoiceId": "INV-2026-000001"}, "inv-1"),
        ({"clientId": CLIENT}, None),
    ],
    ids=str,
)
async def test_a_reminder_for_an_order_or_an_invoice_goes_to_its_client(postgres_url, target, about):
    async with api(postgres_url) as at:
        made = await at.call("POST", REMINDERS, json=wanted(**({"clientId": None} | target)))
    assert (made.status_code, made.json()["conversation"], made.json()["about"]) == (201, CLIENT, about)


async def test_a_client_who_never_wrote_is_reminded_by_the_whole_id(postgres_url):
    new = "store/twilio/+919900000099"
    async with api(postgres_url) as at:
        made = await at.call("POST", REMINDERS, json=wanted(clientId=new))
        unknown = await at.call("POST", REMINDERS, json=wanted(clientId="store/telegram/1"))
        alien = await at.call("POST", REMINDERS, json=wanted(clientId=new), key="other")
    assert (made.status_code, made.json()["conversation"]) == (201, new)
    assert (unknown.status_code, alien.status_code) == (422, 422)


async def test_an_idempotency_key_makes_one_reminder_of_many_requests(postgres_url):
    once = {"idempotency-key": "abc"}
    async with api(postgres_url) as at:
        made = [await at.call("POST", REMINDERS, json=wanted(), headers=once) for _ in range(3)]
        other = await at.call("POST", REMINDERS, json=wanted(message="Else"), headers=once)
        others_key = await at.call("POST", REMINDERS, json=wanted(message="Else"), headers=once, key="store")
        without = [await at.call("POST", REMINDERS, json=wanted()) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 201, 201]
    assert len({each.text for each in made}) == 1
    assert (other.status_code, other.json()["title"]) == (422, "Idempotency key reused")
    assert others_key.status_code == 201
    assert len({each.json()["id"] for each in [*made, others_key, *without]}) == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "BIRTHDAY"}, "type"),
        ({"message": " "}, "message"),
        ({"message": "\0"}, "message"),
        ({"message": "x" * 4_001}, "message"),
        ({"message": "\ud800"}, "message"),
        ({"message": None}, "message"),
        ({"scheduledFor": "2026-11-22T17:30:00"}, "scheduledFor"),
        ({"scheduledFor": "tomorrow"}, "scheduledFor"),
        ({"scheduledFor": 1_700_000_000}, "scheduledFor"),
        ({"scheduledFor": "9999-01-01T00:00:00Z"}, "scheduledFor"),
        ({"clientId": None}, "clientId"),
        ({"orderId": "ord-1"}, "clientId"),
        ({"clientId": "+1"}, "clientId"),
        ({"clientId": None, "orderId": "ord-9"}, "orderId"),
        ({"clientId": None, "invoiceId": "inv-9"}, "invoiceId"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
async def test_a_request_that_is_wrong_says_which_field(postgres_url, changes, field):
    async with api(postgres_url) as at:
        body = json.dumps(wanted() | changes)
        headers = {"content-type": "application/json"}
        answer = await at.call("POST", REMINDERS, content=body, headers=headers)
        left = await rows(at.service, "SELECT count(*) FROM outreach.reminders")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert left == [(1,)]


async def test_cancelling_says_how_it_stands_and_is_refused_when_it_is_too_late(postgres_url):
    async with api(postgres_url) as at:
        made = (await at.call("POST", REMINDERS, json=wanted())).headers["location"]
        cancelled = [await at.call("DELETE", made) for _ in range(2)]
        [past] = [await at.call("POST", REMINDERS, json=wanted(scheduledFor="2026-11-21T11:00:00Z"))]
        await eventually(lambda: at.line.on(INBOUND, NoticeDue), "what is due in the past is sent at once")
        late = await at.call("DELETE", past.headers["location"])
    assert [each.status_code for each in cancelled] == [200, 200]
    assert cancelled[0].json() == cancelled[1].json()
    assert (cancelled[0].json()["status"], cancelled[0].json()["reason"]) == ("cancelled", "cancelled_by_hand")
    assert (late.status_code, late.json()["detail"]) == (409, "the reminder is due already")
    assert len(at.line.on(OUTREACH, outreach.ReminderCancelled)) == 1


async def test_a_payment_reminder_made_by_hand_is_cancelled_when_the_invoice_is_paid(postgres_url):
    async with api(postgres_url) as at:
        body = wanted(type="PAYMENT_DUE", clientId=None, invoiceId="inv-1")
        made = (await at.call("POST", REMINDERS, json=body)).headers["location"]
        at.line.tell(BILLING, told(orders.InvoicePaid(invoice_id="inv-1"), stream="invoice-inv-1", number=2))
        await handled(at.service, at.line)
        shown = await at.call("GET", made)
    assert (shown.json()["status"], shown.json()["reason"]) == ("cancelled", "paid")


async def test_lists_are_paged_filtered_and_limited_to_the_keys_project(postgres_url):
    async with api(postgres_url) as at:
        for number in range(4):
            await at.call("POST", REMINDERS, json=wanted(message=f"number {number}"))
        first = (await at.call("GET", f"{REMINDERS}?limit=3")).json()
        second = (await at.call("GET", f"{REMINDERS}?limit=3&cursor={first['nextCursor']}")).json()
        due = (await at.call("GET", f"{REMINDERS}?type=PAYMENT_DUE&status=scheduled&project=store")).json()
        alien = await at.call("GET", REMINDERS, key="other")
        foreign = await at.call("GET", f"{REMINDERS}?project=store", key="other")
        wrong = [await at.call("GET", REMINDERS + asked) for asked in ("?cursor=x", "?limit=0", "?status=lost")]
    assert [each["message"] for each in first["reminders"]] == ["number 3", "number 2", "number 1"]
    assert [each["type"] for each in second["reminders"]] == ["CUSTOM", "PAYMENT_DUE"]
    assert second["nextCursor"] is None
    assert [each["about"] for each in due["reminders"]] == ["inv-1"]
    assert alien.json() == {"reminders": [], "nextCursor": None}
    assert foreign.status_code == 403
    assert [each.status_code for each in wrong] == [422] * 3


async def test_tags_are_put_on_a_client_once(postgres_url):
    async with api(postgres_url) as at:
        paths = (f"/whatsapp/clients/{CLIENT}/tags", f"/whatsapp/clients/{PHONE}/tags")
        answers = [await at.call("PUT", path, json={"tags": ["vip", " trade ", "vip"]}) for path in paths]
        emptied = await at.call("PUT", paths[0], json={"tags": []})
        await eventually(lambda: len(at.line.on(OUTREACH, outreach.ClientTagged)) == 2, "both changes are told")
        left = await rows(at.service, "SELECT tags FROM outreach.clients")
        wrong = [
            (await at.call("PUT", paths[0], json=body)).status_code
            for body in ({"tags": [""]}, {"tags": ["\0"]}, {"tags": "vip"}, {}, {"tags": ["x" * 65]})
        ]
        unknown = await at.call("PUT", "/whatsapp/clients/+1/tags", json={"tags": []})
    assert [each.json() for each in answers] == [{"conversation": CLIENT, "tags": ["vip", "trade"]}] * 2
    assert (emptied.json()["tags"], left) == ([], [([],)])
    first, second = at.line.on(OUTREACH, outreach.ClientTagged)
    assert [each.tags for each in at.line.data(OUTREACH, outreach.ClientTagged)] == [("vip", "trade"), ()]
    assert (first.stream, first.stream_version, second.stream_version) == (f"client-{CLIENT}", 1, 2)
    assert (wrong, unknown.status_code) == ([422] * 5, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", REMINDERS),
        ("GET", REMINDERS),
        ("GET", f"{REMINDERS}/x"),
        ("DELETE", f"{REMINDERS}/x"),
        ("PUT", "/whatsapp/clients/x/tags"),
    ],
)
async def test_every_route_needs_a_key_with_its_scope(postgres_url, method, path):
    async with api(postgres_url) as at:
        body = {"POST": wanted(), "PUT": {"tags": []}}.get(method)
        without = await at.http.request(method, path, json=body)
        reading = await at.call(method, path, key="reader", json=body)
        writing = await at.call(method, path, json=body)
    assert without.status_code == 401
    assert reading.status_code == (403 if method != "GET" else writing.status_code)
    assert writing.status_code == {REMINDERS: 201 if method == "POST" else 200}.get(path, 404)


async def test_another_projects_reminder_is_as_if_it_were_not_there(postgres_url):
    async with api(postgres_url) as at:
        made = (await at.call("POST", REMINDERS, json=wanted(), key="store")).headers["location"]
        alien = [await at.call(method, made, key="other") for method in ("GET", "DELETE")]
        own = await at.call("GET", made, key="store")
        strange = await at.call("GET", f"{REMINDERS}/%00")
    assert [each.status_code for each in alien] == [404, 404]
    assert (own.json()["status"], strange.status_code) == ("scheduled", 404)


async def test_the_router_works_without_the_service_and_says_when_postgres_is_away(postgres_url):
    key = {"authorization": f"Bearer {KEY_PREFIX}writer"}
    async with opened(postgres_url, PROJECTS, clock=ManualClock(NOW)) as outreach:
        app = FastAPI()
        app.include_router(router(outreach, Guard(Keys())))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=key) as http:
            made = await http.post(REMINDERS, json=wanted(clientId=CLIENT))
            await outreach.pool.close()
            answer = await http.get(REMINDERS)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    line = Line()
    async with worker(postgres_url, line, clock=ManualClock(TOMORROW + timedelta(minutes=1))):
        await eventually(lambda: line.on(INBOUND, NoticeDue), "a service that runs later sends it")
    assert line.data(INBOUND, NoticeDue)[0].regarding == f"reminder-{made.json()['id']}"


def test_the_http_api_comes_without_the_worker_and_its_broker():
    program = (
        "import sys, chatledger_outreach.api, chatledger_outreach.assembly\n"
        "worker = {'aiokafka', 'chatledger.adapters.kafka', 'chatledger_outreach.app', 'chatledger_outreach.intake'}\n"
        "print(sorted(worker & sys.modules.keys()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "[]\n", ended.stderr
