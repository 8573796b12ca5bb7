"""Campaigns over HTTP: what is taken, what is refused with which problem, and who may see what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from psycopg_pool import PoolTimeout

from chatledger.access import KEY_PREFIX, Principal, Scope
from chatledger.events import deliveries
from chatledger.http_api import Guard
from chatledger.projects import Project
from chatledger_outreach import campaign_tracking
from chatledger_outreach.api import router
from chatledger_outreach.campaigns import campaign_stream
from tests.support.campaigns import Bench, campaigning, conversation, phone
from tests.support.outreach import NOW, PROJECTS, told, with_terms

pytestmark = pytest.mark.postgres
TWO = {"store": PROJECTS["store"], "other": replace(PROJECTS["store"], name="other")}
WANTED = {"name": "monsoon", "message": "Hello {{ name }}", "type": "PROMOTIONAL", "targetAudience": {"type": "all"}}


class Keys:
    """A key ring of four keys, by their names."""

    async def principal(self, key: str) -> Principal | None:
        known = {
            "writer": Principal(name="writer", scope=Scope.WRITE),
            "reader": Principal(name="reader", scope=Scope.READ),
            "store": Principal(name="store", scope=Scope.WRITE, project="store"),
            "other": Principal(name="other", scope=Scope.WRITE, project="other"),
        }
        return known.get(key.removeprefix(KEY_PREFIX))


@asynccontextmanager
async def api(
    database: str, projects: Mapping[str, Project] = PROJECTS
) -> AsyncIterator[tuple[httpx.AsyncClient, Bench]]:
    async with campaigning(database, projects=projects) as bench:
        app = FastAPI()
        app.include_router(router(bench.outreach, Guard(Keys())))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=as_("writer")) as client:
            yield client, bench


def as_(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEY_PREFIX}{name}"}


async def test_a_campaign_is_prepared_started_paused_and_ended(postgres_url):
    async with api(postgres_url) as (client, bench):
        await bench.add_clients(12)
        created = await client.post("/whatsapp/campaigns", json=WANTED | {"batchSize": 5, "ratePerSecond": 10})
        assert created.status_code == 201
        campaign = created.json()
        href = f"/whatsapp/campaigns/{campaign['id']}"
        assert created.headers["location"] == href
        assert campaign == {
            "id": campaign["id"],
            "project": "store",
            **WANTED,
            "status": "draft",
            "contentSid": None,
            "contentVariables": {},
            "ratePerSecond": 10,
            "batchSize": 5,
            "targeted": 0,
            "released": 0,
            "scheduledFor": None,
            "nextBatchAt": None,
            "createdAt": "2026-11-21T12:00:00Z",
            "startedAt": None,
            "endedAt": None,
        }
        started = (await client.post(f"{href}/start")).json()
        assert (started["status"], started["targeted"], started["nextBatchAt"]) == (
            "running",
            12,
            "2026-11-21T12:00:00Z",
        )
        await bench.step()
        for command, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            answer = await client.post(f"{href}/{command}")
            assert (answer.status_code, answer.json()["status"]) == (200, status)
        read = (await client.get(href)).json()
        assert (read["released"], read["status"], read["endedAt"]) == (5, "cancelled", "2026-11-21T12:00:00Z")


async def test_started_immediately_or_at_a_time(postgres_url):
    async with api(postgres_url) as (client, bench):
        await bench.add_clients(1)
        now = (await client.post("/whatsapp/campaigns", json=WANTED | {"startImmediately": True})).json()
        assert (now["status"], now["ratePerSecond"], now["batchSize"]) == ("running", 50, 500)
        later = WANTED | {"scheduledFor": "2026-11-21T19:00:00+05:30", "ratePerSecond": 3}
        scheduled = (await client.post("/whatsapp/campaigns", json=later)).json()
        assert (scheduled["status"], scheduled["scheduledFor"]) == ("scheduled", "2026-11-21T13:30:00Z")
        assert scheduled["batchSize"] == 30
        await bench.run()
        href = f"/whatsapp/campaigns/{scheduled['id']}"
        assert (await client.get(href)).json()["startedAt"] == "2026-11-21T13:30:00Z"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"message": "Hello {{ nmae }}"}, "message"),
        ({"message": "{% for i in range(10**9) %}x{% endfor %}"}, "message"),
        ({"message": ""}, "message"),
        ({"type": "SPAM"}, "type"),
        ({"targetAudience": {"type": "some"}}, "targetAudience.type"),
        ({"targetAudience": {"type": "list", "clients": ["12"]}}, "targetAudience.clients[0]"),
        ({"targetAudience": "all"}, "targetAudience"),
        ({"scheduledFor": "2026-11-21T11:00:00Z"}, "scheduledFor"),
        ({"scheduledFor": "2026-11-22T11:00:00"}, "scheduledFor"),
        ({"scheduledFor": "9999-12-31T23:59:59-10:00"}, "scheduledFor"),
        ({"scheduledFor": "2026-11-22T11:00:00Z", "startImmediately": True}, "scheduledFor"),
        ({"ratePerSecond": 0}, "ratePerSecond"),
        ({"ratePerSecond": 10**12}, "ratePerSecond"),
        ({"batchSize": "many"}, "batchSize"),
        ({"contentSid": "HX 1"}, "contentSid"),
        ({"contentVariables": {"1": "{{ name }}"}}, "contentVariables"),
        ({"contentSid": "HX1", "contentVariables": {"1": "{{ name }}"}}, "contentVariables.1"),
        ({"contentSid": "HX1", "contentVariables": {"1": "{{ nobody }}"}}, "contentVariables.1"),
        ({"project": "nobody"}, "project"),
        ({"segment": {}}, "segment"),
    ],
)
@pytest.mark.parametrize("key", [None, "k-1"])
async def test_a_mistake_is_a_422_that_names_the_field(postgres_url, changes, field, key):
    async with api(postgres_url) as (client, bench):
        headers = {"idempotency-key": key} if key else {}
        answer = await client.post("/whatsapp/campaigns", json=WANTED | changes, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        problem = answer.json()
        assert field in [each["field"] for each in problem["errors"]], problem
        assert await bench.rows("SELECT FROM outreach.campaigns") == []
        assert await bench.rows("SELECT FROM outreach.events") == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"name": "\\ud800"}', b'{"targetAudience": {"type": "\\ud800"}}'])
async def test_what_is_no_request_is_a_422(postgres_url, body):
    async with api(postgres_url) as (client, _):
        headers = {"content-type": "application/json", "idempotency-key": "k"}
        answer = await client.post("/whatsapp/campaigns", content=body, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (422, "Invalid fields")


async def test_half_a_surrogate_pair_anywhere_is_refused(postgres_url):
    bodies = [
        b'{"name":"a","message":"b","type":"PROMOTIONAL","targetAudience":{"type":"segment","tags":{"any":["\\ud800"]}}}',
        b'{"name":"a","message":"\\ud800","type":"PROMOTIONAL","targetAudience":{"type":"all"}}',
        b'{"name":"a","message":"b","type":"PROMOTIONAL","targetAudience":{"\\ud800":1,"type":"all"}}',
        b'{"name":"a","message":"b","type":"PROMOTIONAL","targetAudience":{"type":"all"},"\\ud800":1}',
    ]
    async with api(postgres_url) as (client, _):
        for body in bodies:
            for headers in ({}, {"idempotency-key": "k"}):
                json_headers = headers | {"content-type": "application/json"}
                answer = await client.post("/whatsapp/campaigns", content=body, headers=json_headers)
                assert answer.status_code == 422


async def test_a_broken_rule_is_a_409_that_says_it(postgres_url):
    async with api(postgres_url) as (client, _):
        href = "/whatsapp/campaigns/" + (await client.post("/whatsapp/campaigns", json=WANTED)).json()["id"]
        for command in ("pause", "resume"):
            answer = await client.post(f"{href}/{command}")
            assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
            problem = answer.json()
            assert (problem["type"], problem["instance"]) == ("urn:chatledger:problem:rule-broken", f"{href}/{command}")
            assert "this one is draft" in problem["detail"]


async def test_an_idempotency_key_makes_a_request_count_once(postgres_url):
    async with api(postgres_url) as (client, bench):
        await bench.add_clients(2)
        key = {"idempotency-key": "shop-17"}
        wanted = WANTED | {"scheduledFor": "2026-11-21T12:30:00Z"}
        first = (await client.post("/whatsapp/campaigns", json=wanted, headers=key)).json()
        bench.clock.advance(timedelta(hours=1))
        again = await client.post("/whatsapp/campaigns", json=wanted, headers=key)
        assert (again.status_code, again.json()["id"]) == (201, first["id"])
        other = await client.post("/whatsapp/campaigns", json=wanted | {"name": "winter"}, headers=key)
        assert (other.status_code, other.json()["title"]) == (422, "Idempotency key reused")
        href = f"/whatsapp/campaigns/{first['id']}"
        start = {"idempotency-key": "start-17"}
        answers = [await client.post(f"{href}/start", headers=start) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await client.post(f"{href}/start")).status_code == 409
        assert (await client.post(f"{href}/pause", headers=start)).status_code == 422
        assert len(await bench.rows("SELECT FROM outreach.campaign_targets")) == 2


async def test_a_key_is_needed_and_its_scope_counts(postgres_url):
    async with api(postgres_url) as (client, _):
        campaign = (await client.post("/whatsapp/campaigns", json=WANTED)).json()["id"]
        href = f"/whatsapp/campaigns/{campaign}"
        routes = [("POST", "/whatsapp/campaigns"), ("GET", "/whatsapp/campaigns"), ("GET", href)]
        routes += [
            ("GET", f"{href}/metrics"),
            *(("POST", f"{href}/{name}") for name in ("start", "pause", "resume", "cancel")),
        ]
        for method, path in routes:
            for headers in ({"authorization": ""}, {"authorization": f"Bearer {KEY_PREFIX}nobody"}):
                assert (await client.request(method, path, json=WANTED, headers=headers)).status_code == 401
            read = (await client.request(method, path, json=WANTED, headers=as_("reader"))).status_code
            assert read == (200 if method == "GET" else 403)


async def test_a_key_for_one_project_sees_that_one_alone(postgres_url):
    async with api(postgres_url, TWO) as (client, _):
        assert (await client.post("/whatsapp/campaigns", json=WANTED)).status_code == 422
        mine = (await client.post("/whatsapp/campaigns", json=WANTED, headers=as_("store"))).json()
        assert mine["project"] == "store"
        named = WANTED | {"project": "store"}
        assert (await client.post("/whatsapp/campaigns", json=named, headers=as_("other"))).status_code == 403
        assert (await client.post("/whatsapp/campaigns", json=named)).status_code == 201
        href = f"/whatsapp/campaigns/{mine['id']}"
        for method, path in (("GET", href), ("GET", f"{href}/metrics"), ("POST", f"{href}/start")):
            assert (await client.request(method, path, headers=as_("other"))).status_code == 404
        assert (await client.get("/whatsapp/campaigns", headers=as_("other"))).json()["campaigns"] == []
        foreign = await client.get("/whatsapp/campaigns", params={"project": "store"}, headers=as_("other"))
        assert foreign.status_code == 403
        assert len((await client.get("/whatsapp/campaigns", headers=as_("store"))).json()["campaigns"]) == 2


async def test_pages_are_newest_first_and_follow_each_other(postgres_url):
    async with api(postgres_url) as (client, _):
        made = [(await client.post("/whatsapp/campaigns", json=WANTED)).json()["id"] for _ in range(5)]
        await client.post(f"/whatsapp/campaigns/{made[1]}/cancel")
        seen: list[str] = []
        more = {"limit": "2"}
        while "limit" in more:
            page = (await client.get("/whatsapp/campaigns", params=more)).json()
            seen += [each["id"] for each in page["campaigns"]]
            more = {"limit": "2", "cursor": page["nextCursor"]} if page["nextCursor"] else {}
        assert seen == made[::-1]
        cancelled = (await client.get("/whatsapp/campaigns", params={"status": "cancelled"})).json()["campaigns"]
        assert [each["id"] for each in cancelled] == [made[1]]
        for wrong in ({"cursor": "x"}, {"status": "lost"}, {"limit": 0}, {"limit": 101}):
            assert (await client.get("/whatsapp/campaigns", params=wrong)).status_code == 422


async def test_what_is_not_there_is_a_404(postgres_url):
    async with api(postgres_url) as (client, _):
        for path in ("nothing", "nothing/metrics", "a%00b", "x" * 300):
            assert (await client.get(f"/whatsapp/campaigns/{path}")).status_code == 404
        assert (await client.post("/whatsapp/campaigns/nothing/start")).status_code == 404


async def test_metrics_and_no_phone_numbers(postgres_url):
    async with api(postgres_url, with_terms(campaign_rate_per_s=5)) as (client, bench):
        wanted = WANTED | {
            "targetAudience": {"type": "list", "clients": [phone(1), phone(2)]},
            "startImmediately": True,
        }
        campaign = (await client.post("/whatsapp/campaigns", json=wanted)).json()
        assert campaign["targetAudience"] == {"type": "list", "clients": 2}
        assert (campaign["ratePerSecond"], campaign["batchSize"]) == (5, 50)
        await bench.run()
        sent = deliveries.MessageSent(
            delivery_id="d",
            channel="twilio",
            provider_message_id="SM1",
            attempts=1,
            regarding=campaign_stream(campaign["id"]),
        )
        async with bench.outreach.pool.connection() as connection:
            await campaign_tracking.track(connection, [told(sent, time=NOW, key=conversation(1))])
        assert (await client.get(f"/whatsapp/campaigns/{campaign['id']}/metrics")).json() == {
            "campaignId": campaign["id"],
            "status": "completed",
            "targeted": 2,
            "released": 2,
            "skipped": 0,
            "sent": 1,
            "delivered": 0,
            "read": 0,
            "failed": 0,
            "responses": 0,
            "rates": {"sent": 0.5, "failed": 0.0, "delivered": 0.0, "read": 0.0, "responses": 0.0},
        }


async def test_while_postgres_is_away_the_answer_is_a_503(postgres_url, monkeypatch):
    async with api(postgres_url) as (client, bench):

        def away():
            raise PoolTimeout("no connection")

        monkeypatch.setattr(bench.outreach.pool, "connection", away)
        answer = await client.get("/whatsapp/campaigns")
        assert (answer.status_code, answer.json()["title"]) == (503, "Unavailable")
        assert answer.headers["retry-after"]
