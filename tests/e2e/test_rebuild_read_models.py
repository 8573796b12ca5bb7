"""Read models made anew while shoppers order and the API is read: through every service, on the embedded default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import psycopg
import pytest

from tests.e2e.store_dialogue import Shopper
from tests.e2e.up_process import UpProcess, until
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SHOPPERS = range(5)
BUYS_AGAIN = "+919900000900"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture
def system(provider: ScriptedProvider, tmp_path: Path) -> Iterator[UpProcess]:
    tmp_path.chmod(0o711)
    up = UpProcess(tmp_path, provider_url=provider.url)
    try:
        yield up.start()
    finally:
        up.end()


def damage(database: str) -> None:
    """Rows are lost and edited in every read model that has any."""
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM billing.invoices")
        connection.execute("UPDATE billing.orders SET status = 'draft', total_minor = 1")
        connection.execute("UPDATE outreach.clients SET spend_minor = 7, orders = 9, opted_out = true")
        connection.execute("DELETE FROM outreach.orders")
        connection.execute("DELETE FROM outreach.reminders")
        connection.execute("UPDATE notify.clients SET last_message_at = last_message_at - interval '1 hour'")


def test_shoppers_order_and_the_api_is_read_while_all_is_made_anew(
    system: UpProcess, provider: ScriptedProvider
) -> None:
    key = system.run("keys", "create", "--name", "shop", "--scope", "admin").stdout.strip()
    api = httpx.Client(base_url=f"{system.url}/whatsapp", headers={"authorization": f"Bearer {key}"}, trust_env=False)
    done, seen = Event(), list[int]()

    def read() -> None:
        while not done.is_set():
            answer = api.get("/orders")
            assert answer.status_code == 200, answer.text
            seen.append(len(answer.json()["orders"]))

    with system.client() as http, api, ThreadPoolExecutor(max_workers=2) as beside:
        numbers = {Shopper(http, provider, BUYS_AGAIN).order()}
        until(lambda: len(api.get("/orders").json()["orders"]) == 1, timeout_s=20, what="the order is listed")
        until(
            lambda: system.run("rebuild", "all", "--check", check=False).returncode == 0,
            timeout_s=30,
            what="all is as history says",
        )
        damage(system.state["database"])
        reading, rebuilding = beside.submit(read), beside.submit(system.run, "rebuild", "all", "--json")
        for number in SHOPPERS:
            numbers.add(Shopper(http, provider, f"+9199000009{number + 1:02}").order())
        lines = [json.loads(line) for line in rebuilding.result().stdout.splitlines()]
        done.set()
        reading.result()
        assert [each["name"] for each in lines][:3] == ["billing.orders", "outreach.clients", "outreach.reminders"]
        assert min(seen) >= 1
        until(
            lambda: {each["number"] for each in api.get("/orders").json()["orders"]} == numbers,
            timeout_s=20,
            what="every order is listed, each once",
        )
        listed = api.get("/orders").json()["orders"]
        assert {(each["status"], each["total"]["minor"]) for each in listed} == {("confirmed", 500_000)}
    with psycopg.connect(system.state["database"]) as connection:
        rows = connection.execute("SELECT orders, spend_minor, opted_out FROM outreach.clients").fetchall()
    assert rows == [(1, 500_000, False)] * (1 + len(SHOPPERS))
    checked = system.run("rebuild", "all", "--check", "--json")
    assert [json.loads(line)["differences"] for line in checked.stdout.splitlines()] == [0] * len(lines)
    report = json.loads(system.run("verify", "--settle", "20", "--json").stdout)
    assert report["violations"] == 0, report
