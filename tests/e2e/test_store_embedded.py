"""The store on the embedded default: the document's dialogue over signed webhooks, and its HTTP API beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from chatledger_cli.demo_store import StoreScene
from tests.e2e.store_dialogue import CONFIRMED, PATH, Shopper
from tests.e2e.up_process import UpProcess, until
from tests.support.provider import Answer, ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def system(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    up = UpProcess(tmp_path_factory.mktemp("store"), provider_url=provider.url)
    up.environment["WHATSAPP_VERIFY_TOKEN"] = "verify-me"
    try:
        yield up.start()
        report = json.loads(up.run("verify", "--settle", "20", "--json").stdout)
        assert report["violations"] == 0, report
        assert report["dead_letters"] == []
        assert up.stop() == 0, up.log[-3000:]
        assert "were not recorded" not in up.log
    finally:
        up.end()


@pytest.fixture
def http(system: UpProcess) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client


@pytest.fixture(scope="module")
def api(system: UpProcess) -> Iterator[httpx.Client]:
    """The HTTP API, with a key that may do everything."""
    key = system.run("keys", "create", "--name", "shop", "--scope", "admin").stdout.strip()
    with httpx.Client(
        base_url=f"{system.url}/whatsapp", headers={"authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        yield client


def recorded(system: UpProcess, type_name: str, conversation: str) -> list[dict[str, Any]]:
    """The data of a conversation's events of one type, in the ledger's order."""
    with psycopg.connect(system.state["database"]) as connection:
        rows = connection.execute(
            "SELECT data FROM ledger.events WHERE type = %s AND metadata->>'conversation' = %s ORDER BY position",
            (type_name, conversation),
        ).fetchall()
    return [data for (data,) in rows]


def test_the_documents_dialogue(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client, api: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000101")
    number = shopper.order()
    listed = until(
        lambda: [each for each in api.get("/orders").json()["orders"] if each["number"] == number],
        timeout_s=10,
        what="the order is listed",
    )
    assert (listed[0]["status"], listed[0]["total"]["minor"]) == ("confirmed", 500_000)
    assert "Order confirmed" not in shopper.say("status")[0]
    state = system.run("state", shopper.conversation, "--json").stdout
    assert '"COMPLETED"' in state


def test_our_requests_are_twilios(provider: ScriptedProvider, http: httpx.Client) -> None:
    shopper = Shopper(http, provider, "+919900000102")
    shopper.say("Hi")
    [message] = [each for each in provider.received if each.client_id == shopper.phone]
    assert (message.channel, message.account, message.sender) == (
        "twilio",
        "AC00000000000000000000000000000000",
        "+14155238886",
    )
    assert message.callback_url.startswith("https://store.example/webhook/twilio/store?delivery=")


def test_a_webhook_that_comes_twice_counts_once(provider: ScriptedProvider, http: httpx.Client) -> None:
    shopper = Shopper(http, provider, "+919900000103")
    form = shopper.form("Hi")
    ids = {shopper.post(form).headers["x-event-id"] for _ in range(3)}
    assert len(ids) == 1
    shopper.hear(1)
    shopper.say("Cement x 1")  # what comes next shows that nothing more came before
    assert len(provider.texts(shopper.phone)) == 2


def test_a_wrong_signature_is_refused(provider: ScriptedProvider, http: httpx.Client) -> None:
    shopper = Shopper(http, provider, "+919900000104")
    for token in ("another-token", ""):
        refused = shopper.post(shopper.form("Hi"), token=token)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    form = shopper.form("Hi")
    assert shopper.post(form | {"Body": "Hi"}).status_code == 200


def test_metas_question_is_answered(http: httpx.Client) -> None:
    question = {"hub.mode": "subscribe", "hub.verify_token": "verify-me", "hub.challenge": "4711"}
    answer = http.get(PATH, params=question)
    assert (answer.status_code, answer.text) == (200, "4711")
    assert http.get(PATH, params=question | {"hub.verify_token": "guess"}).status_code == 403


def test_reports_on_a_message_never_take_it_back(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000105")
    shopper.say("Hi")
    [sent] = [each for each in provider.received if each.client_id == shopper.phone]
    path = sent.callback_url.removeprefix("https://store.example")
    for status in ("read", "delivered", "sent"):
        form = {"MessageSid": "SM1", "MessageStatus": status, "To": f"whatsapp:{shopper.phone}", "From": "whatsapp:+1"}
        assert shopper.post(form, path=path).status_code == 200
    [read] = until(
        lambda: recorded(system, "message.read", shopper.conversation), timeout_s=10, what="the message is read"
    )
    assert read["delivery_id"] == sent.idempotency_key
    until(
        lambda: len(recorded(system, "delivery.reported", shopper.conversation)) == 3, timeout_s=10, what="all reports"
    )


def test_what_the_shop_does_the_client_hears(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client, api: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000106")
    number = shopper.order()
    order = until(lambda: _found(api, number), timeout_s=10, what="the order is there")
    invoice = order["invoice"]["id"]
    payment = {"reference": "UTR-1", "amount": "5000.00", "method": "upi"}
    paid = api.post(f"/invoices/{invoice}/payments", json=payment)
    assert paid.status_code in (200, 201), paid.text
    assert "paid in full (₹5,000)" in shopper.hear(1)[0]
    assert api.post(f"/orders/{order['id']}/advance", json={}).status_code == 200
    assert "preparing your order" in shopper.hear(1)[0]
    too_late = api.post(f"/orders/{order['id']}/advance", json={"to": "delivered"})
    assert too_late.status_code == 409


def test_the_health_of_everything(api: httpx.Client) -> None:
    health = api.get("/health").json()
    assert health["checks"] == {"broker": True, "postgres": True}
    assert {breaker["name"]: breaker["state"] for breaker in health["breakers"]}["store/twilio"] == "closed"


def test_while_twilio_is_down_orders_are_placed_and_messages_wait(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000107")
    with provider.away():
        for text in ("Hi", "Cement x 100", "1"):
            shopper.write(text)
        until(
            lambda: recorded(system, "invoice.issued", shopper.conversation), timeout_s=20, what="the invoice is issued"
        )
        assert provider.texts(shopper.phone) == []
    welcome, summary, confirmed, invoice = shopper.hear(4)
    assert welcome.startswith("Welcome!")
    assert "Total: ₹5,000" in summary
    assert (confirmed, invoice.partition(" ")[0]) == (CONFIRMED, "Invoice")
    keys = [each.idempotency_key for each in provider.received if each.client_id == shopper.phone]
    assert len(keys) == len(set(keys)) == 4


def test_a_provider_that_refuses_for_good_is_not_asked_again(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000108")
    provider.script(shopper.phone, Answer(status=400))
    shopper.write("Hi")
    [failed] = until(
        lambda: recorded(system, "message.failed", shopper.conversation), timeout_s=10, what="the message has failed"
    )
    assert failed["attempts"] == 1


def test_the_path_is_the_one_that_the_demo_uses() -> None:
    assert StoreScene.PATH == PATH


def _found(api: httpx.Client, number: str) -> dict[str, Any] | None:
    answer = api.get(f"/orders/{number}")
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 and found["invoice"] else None
