"""The whole broker is lost in mid-run, its data with it: a new one is made fit from the ledger, and traffic goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from tests.e2e.dialogue import order
from tests.e2e.load import Load
from tests.e2e.store_dialogue import CONFIRMED, Shopper
from tests.e2e.up_process import UpProcess, until
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.postgres import fresh_database
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]

CLIENTS, PER_SECOND = 80, 60.0
SETTLE_TIMEOUT_S = 60
LOAD_TIMEOUT_S = 90.0
UNDECIDED = """
    SELECT count(*) FROM ledger.events AS said
    WHERE said.type = 'message.received' AND NOT EXISTS (
        SELECT FROM ledger.events AS effect WHERE effect.metadata ->> 'causationid' = said.id::text
    )
"""
ORDERS_OF_ONE = """
    SELECT max(orders)
    FROM (SELECT count(*) AS orders FROM ledger.events WHERE type = 'order.placed' GROUP BY stream) AS counted
"""
RESTORE_BEGAN = "SELECT EXISTS (SELECT FROM ledger.restores)"


@pytest.fixture
def kafka() -> Iterator[RealKafka]:
    """A broker of our own, to be lost."""
    require_java_and_maven()
    with RealKafka() as broker:
        yield broker


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture
def system(
    provider: ScriptedProvider, kafka: RealKafka, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> Iterator[UpProcess]:
    with fresh_database(postgres_server) as database:
        up = UpProcess(tmp_path, provider_url=provider.url, broker=kafka.bootstrap_servers, database=database)
        try:
            up.start()
            # Providers find it where it was.
            up.environment["PORT"] = str(up.state["port"])
            yield up
        finally:
            up.kill()


def asked(system: UpProcess, query: str) -> Any:
    with psycopg.connect(system.environment["CHATLEDGER_DATABASE"]) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def restored(system: UpProcess) -> None:
    """Restore, after a restore that was ended by SIGKILL at its work."""
    command = [sys.executable, "-m", "chatledger_cli.main", "restore"]
    with subprocess.Popen(command, cwd=system.folder, env=system.environment, stderr=subprocess.DEVNULL) as process:
        until(
            lambda: process.poll() is not None or asked(system, RESTORE_BEGAN), timeout_s=30, what="the restore begins"
        )
        process.kill()
    said = json.loads(system.run("restore", "--json").stdout)
    if not said["already_restored"]:
        assert said["events"] > 100
        assert said["conversations"] >= 5
    assert json.loads(system.run("restore", "--json").stdout)["already_restored"]
    assert asked(system, "SELECT bool_and(after_position = 0 AND finished_at IS NOT NULL) FROM ledger.restores")


def just_started(system: UpProcess) -> None:
    """`up` alone puts back what services need."""


@pytest.mark.parametrize("made_fit", [restored, just_started])
def test_traffic_goes_on_after_the_loss_of_the_whole_broker(
    made_fit: Callable[[UpProcess], None],
    system: UpProcess,
    provider: ScriptedProvider,
    kafka: RealKafka,
    tmp_path: Path,
) -> None:
    with system.client() as http:
        order(http, provider, 9_001)
        shoppers = [Shopper(http, provider, f"+9199000004{number:02d}") for number in range(4)]
        for shopper in shoppers:
            shopper.say("Hi")
            shopper.say("Cement x 100")
    with Load(url=system.url, first_client=40_000, clients=CLIENTS, webhooks_per_second=PER_SECOND) as load:
        until(lambda: len(load.acknowledged) > 100, timeout_s=LOAD_TIMEOUT_S, what="the load is under way")
        kafka.kill()
        kafka.wipe()
        end_all(system)
        kafka.start()
        said_before = list(load.bodies)
        made_fit(system)
        system.start()
        with system.client() as http:
            say_again(http, said_before)
            assert load.done.wait(LOAD_TIMEOUT_S)
            assert len(load.acknowledged) == load.expected
            for shopper in shoppers:
                shopper.http = http
                confirmed, invoice = shopper.say("1", replies=2)
                assert (confirmed, invoice.partition(" ")[0]) == (CONFIRMED, "Invoice")
    check_what_came_of_it(system, provider, load, tmp_path)
    assert system.stop() == 0, system.log[-3000:]


def end_all(system: UpProcess) -> None:
    """End the supervisor by SIGKILL, and wait until its services have ended by themselves: they cannot drain."""
    assert system.process is not None
    services = psutil.Process(system.process.pid).children()
    system.kill()
    _, alive = psutil.wait_procs(services, timeout=30)
    assert not alive
    (system.folder / "var" / "up.json").unlink()


def say_again(http: httpx.Client, bodies: list[dict[str, object]]) -> None:
    """Post webhooks once more, as a provider does that is not sure; what the broker took with it is among them."""
    for body in bodies:
        assert http.post("/webhook/chat2desk", json=body).status_code == 200


def check_what_came_of_it(system: UpProcess, provider: ScriptedProvider, load: Load, tmp_path: Path) -> None:
    """Everything acknowledged is there once and was decided about, nobody was told or billed anything twice."""
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_text("\n".join(load.acknowledged))
    words = ("--acknowledged", str(acknowledged), "--settle", str(SETTLE_TIMEOUT_S), "--json")
    verified = system.run("verify", *words, check=False)
    assert verified.stdout, verified.stderr
    report = json.loads(verified.stdout)
    assert report["violations"] == 0, [each for each in report["invariants"] if each["violations"]]
    assert report["dead_letters"] == []
    assert asked(system, UNDECIDED) == 0
    assert asked(system, ORDERS_OF_ONE) == 1
    keys = Counter(message.idempotency_key for message in provider.received)
    assert [key for key, times in keys.items() if times > 1] == []
