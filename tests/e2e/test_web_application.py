"""What is behind the one HTTP port, in this process: who may read what, and /whatsapp/health in good and bad times."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import psycopg
import pytest

from chatledger.access import Scope
from chatledger.adapters.api_keys import create_key
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.project_files import load_projects
from chatledger.projects import Crm, Project
from chatledger_cli.backends import migrate_all
from chatledger_cli.services import services_of
from chatledger_cli.web import application
from chatledger_ingress.settings import IngressSettings
from tests.e2e.up_process import PROJECTS, TOKEN

pytestmark = pytest.mark.postgres

ALL_PROJECTS = load_projects(PROJECTS)
BEYOND = "0.0.0.0"
OPEN_ON_LOOPBACK = ("/orders", "/orders/none", "/invoices/none")
KEYS_ALWAYS = (
    "/whatsapp/orders",
    "/whatsapp/invoices",
    "/whatsapp/health",
    "/whatsapp/campaigns/none/metrics",
    "/history/conversations",
)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


@pytest.fixture
async def database(postgres_url: str) -> str:
    await migrate_all(postgres_url, services_of(ALL_PROJECTS))
    return postgres_url


@asynccontextmanager
async def web(
    broker: EmbeddedBroker,
    database: str,
    *,
    host: str = "127.0.0.1",
    projects: Mapping[str, Project] = ALL_PROJECTS,
) -> AsyncIterator[httpx.AsyncClient]:
    settings = IngressSettings(
        broker=broker.bootstrap_servers,
        incarnation=broker.incarnation,
        database=database,
        host=host,
        projects=PROJECTS,
    )
    async with (
        application(settings, projects, {"CHAT2DESK_WEBHOOK_TOKEN": TOKEN}) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


async def bearer(database: str, name: str = "test", scope: Scope = Scope.READ, project: str | None = None):
    key, _ = await create_key(database, name=name, scope=scope, project=project)
    return {"authorization": f"Bearer {key}"}


async def test_on_loopback_orders_are_open_and_the_stores_api_is_not(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        assert [(await client.get(path)).status_code for path in OPEN_ON_LOOPBACK] == [200, 404, 404]
        assert [(await client.get(path)).status_code for path in KEYS_ALWAYS] == [401] * len(KEYS_ALWAYS)
        assert (await client.get("/health")).status_code == 200


async def test_beyond_loopback_everything_but_webhooks_and_health_needs_a_key(
    broker: EmbeddedBroker, database: str
) -> None:
    async with web(broker, database, host=BEYOND) as client:
        for path in (*OPEN_ON_LOOPBACK, *KEYS_ALWAYS):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), path
        assert (await client.get("/health")).status_code == 200
        key = await bearer(database)
        assert [(await client.get(path, headers=key)).status_code for path in OPEN_ON_LOOPBACK] == [200, 404, 404]


async def test_a_projects_key_names_its_project(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database, host=BEYOND) as client:
        key = await bearer(database, project="store")
        without = await client.get("/orders", headers=key)
        assert (without.status_code, without.json()["detail"]) == (
            403,
            "this key is for one project alone: add ?project=store",
        )
        assert (await client.get("/orders?project=order-form", headers=key)).status_code == 403
        assert (await client.get("/orders?project=store&project=order-form", headers=key)).status_code == 403
        assert (await client.get("/orders?project=store", headers=key)).json() == {"orders": [], "next_cursor": None}


async def test_health_tells_of_broker_postgres_breakers_and_lag(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        key = await bearer(database)
        healthy = await client.get("/whatsapp/health", headers=key)
        assert healthy.status_code == 200
        assert healthy.json() == {
            "status": "healthy",
            "checks": {"broker": True, "postgres": True},
            "breakers": [],
            "lag": {"dialog": 0, "billing": 0, "notify": 0, "outreach": 0, "ledger": 0},
            "inventory": [],
        }
        body = {"client_id": 1, "message_id": 1, "text": "hi"}
        await client.post("/webhook/chat2desk", json=body, headers={"x-webhook-token": TOKEN})
        lag = (await client.get("/whatsapp/health", headers=key)).json()["lag"]
        assert lag == {"dialog": 1, "billing": 0, "notify": 1, "outreach": 1, "ledger": 1}


async def test_an_open_breaker_is_shown_and_degrades(broker: EmbeddedBroker, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO notify.breakers (name, state, failures, changed_at, seen_at, worker)"
            " VALUES ('store/twilio', 'open', 5, '2026-11-21 10:00+00', '2026-11-21 10:00:05+00', 'w')"
        )
    async with web(broker, database) as client:
        answer = await client.get("/whatsapp/health", headers=await bearer(database))
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    [breaker] = answer.json()["breakers"]
    assert (breaker["changedAt"], breaker["seenAt"]) == ("2026-11-21T10:00:00+00:00", "2026-11-21T10:00:05+00:00")
    assert (breaker["service"], breaker["name"], breaker["state"], breaker["failures"]) == (
        "notify",
        "store/twilio",
        "open",
        5,
    )


async def test_the_age_of_the_inventory_is_told_where_a_project_has_a_crm(
    broker: EmbeddedBroker, database: str
) -> None:
    store = replace(ALL_PROJECTS["store"], crm=Crm(kind="zoho"))
    await migrate_all(database, services_of({"store": store}))
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO crm.inventory (project, sku, fetched_at, event_id, version)"
            " VALUES ('store', 'A', now() - interval '10 minutes', 'a', 1),"
            " ('store', 'B', now() - interval '1 day', 'b', 1)"
        )
    async with web(broker, database, projects={"store": store}) as client:
        answer = await client.get("/whatsapp/health", headers=await bearer(database))
    [inventory] = answer.json()["inventory"]
    assert (inventory["project"], inventory["products"], inventory["ageS"] // 60) == ("store", 2, 10)
    assert "crm" in answer.json()["lag"]


async def test_without_a_broker_it_is_unhealthy_and_says_so_in_time(database: str) -> None:
    own = EmbeddedBroker().start()
    try:
        async with web(own, database) as client:
            key = await bearer(database)
            own.stop()
            answer = await client.get("/whatsapp/health", headers=key)
    finally:
        own.stop()
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.json()["checks"] == {"broker": False, "postgres": True}
    assert (answer.json()["breakers"], answer.json()["lag"]) == ([], None)


async def test_without_the_schemas_it_is_unhealthy(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        key = await bearer(database)
        with psycopg.connect(database) as connection:
            connection.execute("DROP SCHEMA notify CASCADE")
        answer = await client.get("/whatsapp/health", headers=key)
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"broker": True, "postgres": False}


@pytest.mark.parametrize("path", ["/whatsapp/orders", "/orders", "/whatsapp/health", "/history/clients/{id}"])
async def test_what_is_described_is_served(path: str, broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        described = (await client.get("/openapi.json")).json()
    assert path in described["paths"]
    needs_key = path.startswith(("/whatsapp/", "/history/"))
    assert described["paths"][path]["get"].get("security") == ([{"API key": []}] if needs_key else None)


async def test_nothing_that_the_description_refers_to_is_missing(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        text = (await client.get("/openapi.json")).text
    named = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))
    assert "Problem" in named
    assert named <= json.loads(text)["components"]["schemas"].keys()


async def test_a_path_that_is_not_there_leads_to_the_description(broker: EmbeddedBroker, database: str) -> None:
    async with web(broker, database) as client:
        answer = await client.get("/whatsapp/nothing")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "there is nothing at this path; /docs lists what there is",
    )
