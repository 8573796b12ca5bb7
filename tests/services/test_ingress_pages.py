"""What the ingress serves beside webhooks: health, the root page, metrics, its description, and problems everywhere."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pytest

from chatledger.channels import twilio
from chatledger.channels.meta import SIGNATURE
from chatledger.channels.signatures import hmac_text
from chatledger_cli.webhooks import twilio_webhook
from chatledger_ingress import health as health_module
from chatledger_ingress.health import Health, HealthReporter
from tests.services.ingress_app import (
    APP_SECRET,
    AUTH_TOKEN,
    Ingress,
    Seconds,
    ingress,
    passes,
    post_webhook,
    whatsapp_ingress,
)

WHATSAPP_PATH = "/whatsapp/webhook/store"


async def fails() -> None:
    raise ConnectionError("away")


async def number(value: int) -> int:
    return value


async def get(service: Ingress, path: str) -> httpx.Response:
    async with service.client() as client:
        return await client.get(path)


async def test_health_shows_the_checks_and_the_queues():
    health = Health(broker=passes, postgres=passes, message_queue=lambda: number(7), outbox_queue=lambda: number(3))

    answer = await get(ingress(health=health), "/health")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "checks": {"broker": True, "postgres": True, "queues": {"message": 7, "outbox": 3}},
    }


@pytest.mark.parametrize(
    ("health", "broker", "postgres"),
    [
        (Health(broker=fails, postgres=passes), False, True),
        (Health(broker=passes, postgres=fails), True, False),
        (Health(broker=fails), False, None),
    ],
)
async def test_a_failed_check_is_503_and_false(health, broker, postgres):
    answer = await get(ingress(health=health), "/health")

    assert answer.status_code == 503
    assert answer.json()["status"] == "unhealthy"
    checks = answer.json()["checks"]
    assert (checks["broker"], checks["postgres"]) == (broker, postgres)


async def test_a_check_that_hangs_has_failed(monkeypatch):
    monkeypatch.setattr(health_module, "CHECK_TIMEOUT_S", 0.01)
    hanging = asyncio.Event()

    async def hangs() -> None:
        await hanging.wait()

    answer = await get(ingress(health=Health(broker=hangs, postgres=passes)), "/health")

    assert answer.status_code == 503
    assert answer.json()["checks"]["broker"] is False


async def test_the_outside_is_asked_once_a_second():
    asked = 0

    async def counts() -> None:
        nonlocal asked
        asked += 1

    seconds = Seconds()
    reporter = HealthReporter(Health(broker=counts), monotonic=seconds)

    await asyncio.gather(*[reporter.report() for _ in range(10)])
    seconds.now += 1.0
    await reporter.report()

    assert asked == 2


async def test_the_root_page_tells_what_runs_here():
    service = whatsapp_ingress()
    service.seconds.now += 12.5

    page = (await get(service, "/")).json()

    assert page["name"] == "chatledger"
    assert page["uptime_s"] == 12.5
    assert page["channels"] == {"chat2desk": ["order-form"], "meta": ["store"], "twilio": ["store"]}
    for link in page["links"].values():
        assert (await get(service, link)).status_code == 200


async def test_metrics_count_acknowledged_and_refused():
    service = ingress()
    await service.post()
    await service.post(b"{")

    text = (await get(service, "/metrics")).text

    assert 'chatledger_webhooks_acknowledged_total{channel="chat2desk",project="order-form"}' in text
    assert 'chatledger_webhooks_refused_total{status="400"}' in text


async def test_the_description_has_every_body_form_and_every_answer():
    schema = (await get(ingress(), "/openapi.json")).json()

    for path in (
        "/webhook/{channel}",
        "/webhook/{channel}/{project}",
        "/whatsapp/webhook",
        "/whatsapp/webhook/{project}",
    ):
        operation = schema["paths"][path]["post"]
        assert operation["responses"].keys() >= {"200", "400", "401", "404", "413", "415", "422", "429", "503"}
        assert operation["requestBody"]["content"].keys() == {"application/json", twilio.FORM}
        assert schema["paths"][path]["get"]["responses"].keys() >= {"200", "403"}
    assert {"/", "/health", "/metrics"} <= schema["paths"].keys()


async def test_every_example_of_the_description_is_taken():
    service = whatsapp_ingress()
    schema = (await get(service, "/openapi.json")).json()
    content = schema["paths"]["/webhook/{channel}/{project}"]["post"]["requestBody"]["content"]
    examples = {name: each["value"] for kind in content.values() for name, each in kind["examples"].items()}
    batch = orjson.dumps(examples.pop("meta"))
    form = twilio_webhook(examples.pop("twilio"), url=f"http://ingress{WHATSAPP_PATH}", token=AUTH_TOKEN)
    signed = {SIGNATURE.header: hmac_text(SIGNATURE, APP_SECRET, batch)}

    answers = [await service.post(example) for example in examples.values()]
    answers += [await post_webhook(service, WHATSAPP_PATH, form)]
    answers += [await service.post(batch, path=WHATSAPP_PATH, headers=signed)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]


async def test_other_routers_can_be_included_and_their_errors_are_problems_too():
    service = ingress()

    @service.app.get("/orders/{number}")
    async def order(number: int) -> int:
        return 1 // number

    answers = [await get(service, path) for path in ("/orders/1", "/orders/x", "/orders/0", "/nowhere")]

    assert [answer.status_code for answer in answers] == [200, 422, 500, 404]
    for answer in answers[1:]:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert "/orders/{number}" in (await get(service, "/openapi.json")).json()["paths"]
