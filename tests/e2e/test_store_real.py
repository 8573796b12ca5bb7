"""The store on a real Kafka and Postgres: the document's dialogue, and an outage of Twilio with services killed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from tests.e2e.store_dialogue import CONFIRMED, WELCOME, Shopper
from tests.e2e.up_process import UpProcess, until
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.postgres import fresh_database
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(180)]

SETTLE_TIMEOUT_S = 60.0
SHOPPERS = 8


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def kafka() -> Iterator[RealKafka]:
    """A broker of our own: other tests write to the same topics of the shared one."""
    require_java_and_maven()
    with RealKafka() as broker:
        yield broker


@pytest.fixture(scope="module")
def system(
    provider: ScriptedProvider,
    kafka: RealKafka,
    postgres_server: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[UpProcess]:
    with fresh_database(postgres_server) as database:
        folder = tmp_path_factory.mktemp("store-real")
        up = UpProcess(folder, provider_url=provider.url, broker=kafka.bootstrap_servers, database=database)
        up.environment["CHATLEDGER_NOTIFY_BREAKER_PAUSE_S"] = "1"
        try:
            yield up.start()
            assert up.stop() == 0, up.log[-3000:]
        finally:
            up.kill()


@pytest.fixture
def http(system: UpProcess) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client


def verified(system: UpProcess) -> None:
    report = json.loads(system.run("verify", "--settle", str(SETTLE_TIMEOUT_S), "--json").stdout)
    assert report["violations"] == 0, [each for each in report["invariants"] if each["violations"]]
    assert report["dead_letters"] == []


def invoices_issued(system: UpProcess) -> int:
    with psycopg.connect(system.environment["CHATLEDGER_DATABASE"]) as connection:
        row = connection.execute("SELECT count(*) FROM ledger.events WHERE type = 'invoice.issued'").fetchone()
    assert row is not None
    return int(row[0])


def test_the_documents_dialogue(system: UpProcess, provider: ScriptedProvider, http: httpx.Client) -> None:
    shopper = Shopper(http, provider, "+919900000201")
    number = shopper.order()
    assert f"Order {number}: confirmed" in shopper.say("status")[0]
    assert '"COMPLETED"' in system.run("state", shopper.conversation, "--json").stdout
    verified(system)


def test_an_outage_of_twilio_loses_and_doubles_nothing(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client
) -> None:
    shoppers = [Shopper(http, provider, f"+9199000003{number:02d}") for number in range(SHOPPERS)]
    before = invoices_issued(system)
    key = {"authorization": f"Bearer {system.run('keys', 'create', '--name', 'ops', '--scope', 'read').stdout.strip()}"}

    def breaker() -> str:
        health = http.get("/whatsapp/health", headers=key).json()
        return {each["name"]: each["state"] for each in health["breakers"] or ()}.get("store/twilio", "")

    with provider.away():
        for text in ("Hi", "Cement x 100", "1"):
            for shopper in shoppers:
                shopper.write(text)  # asserts that it is acknowledged
        until(
            lambda: invoices_issued(system) == before + SHOPPERS, timeout_s=SETTLE_TIMEOUT_S, what="orders are invoiced"
        )
        until(lambda: breaker() != "closed", timeout_s=SETTLE_TIMEOUT_S, what="the breaker opens")
        system.child("chatledger_notify").kill()
        system.child("chatledger_billing").kill()
    for shopper in shoppers:
        welcome, summary, confirmed, invoice = shopper.hear(4)
        assert welcome.startswith(WELCOME)
        assert "Total: ₹5,000" in summary
        assert (confirmed, invoice.partition(" ")[0]) == (CONFIRMED, "Invoice")
    keys = [each.idempotency_key for each in provider.received if each.client_id in {each.phone for each in shoppers}]
    assert len(keys) == len(set(keys)) == 4 * SHOPPERS
    until(lambda: breaker() == "closed", timeout_s=SETTLE_TIMEOUT_S, what="the breaker closes")
    verified(system)


def test_a_client_may_order_again_after_a_restart(
    system: UpProcess, provider: ScriptedProvider, http: httpx.Client
) -> None:
    shopper = Shopper(http, provider, "+919900000202")
    first = shopper.order()
    assert system.stop() == 0
    system.start()
    with system.client() as again:
        shopper.http = again
        [summary] = shopper.say("repeat")
        assert "Total: ₹5,000" in summary
        shopper.say("1", replies=2)
        [status] = shopper.say("status")
    assert status.count("confirmed") == 2
    assert first in status
    verified(system)
