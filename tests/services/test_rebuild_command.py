"""`chatledger rebuild` as an operator types it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import typer
from typer.testing import CliRunner

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger_cli import rebuild_command
from chatledger_outreach.assembly import set_up_database
from tests.support.ledger import open_ledger
from tests.support.outreach import CLIENT, order
from tests.support.rebuilding import execute

pytestmark = pytest.mark.postgres
Run = Callable[..., Any]
PROJECTS = Path(__file__).resolve().parents[2] / "projects"
NAMES = [
    "billing.orders",
    "outreach.clients",
    "outreach.reminders",
    "outreach.campaigns",
    "notify.clients",
    "crm.inventory",
    "dialog",
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    rebuild_command.register(app)
    app.callback()(lambda: None)
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHATLEDGER_PROJECTS", str(PROJECTS))
    return lambda *words: CliRunner().invoke(app, ["rebuild", *words])


@pytest.fixture
def history(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An order that outreach has handled, whose row is lost. No other service was ever there."""

    async def record() -> None:
        await set_up_database(postgres_url)
        async with open_ledger(postgres_url) as ledger:
            await ledger.append([recorded(order(), topic=topics.BILLING)])
        await execute(postgres_url, "INSERT INTO outreach.positions VALUES ('tests', 'chat.billing', 0, 1)")

    asyncio.run(record())
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    return postgres_url


def test_it_says_what_can_be_made_anew(run: Run) -> None:
    listed = run("--list")
    assert listed.stdout == run().stdout
    assert [line.split()[0] for line in listed.stdout.splitlines()] == NAMES
    assert "Tables beside it: outreach.orders, outreach.invoices, outreach.wishes, outreach.stock." in listed.stdout
    as_json = [orjson.loads(line) for line in run("--list", "--json").stdout.splitlines()]
    assert [each["name"] for each in as_json] == NAMES
    assert as_json[0]["tables"] == ["billing.orders", "billing.invoices"]


def test_a_check_names_the_rows_and_a_rebuild_mends_them(run: Run, history: str) -> None:
    checked = run("outreach.clients", "--check")
    assert checked.exit_code == 1
    assert checked.stdout.splitlines()[0].startswith("outreach.clients: 2 differences, by 2 rows from 1 events in ")
    assert f"outreach.clients {CLIENT}: the row is missing" in checked.stdout
    line = orjson.loads(run("outreach.orders", "--check", "--json").stdout)
    assert (line["name"], line["differences"], line["rows"], line["events"]) == ("outreach.clients", 2, 2, 1)
    assert line["differing"][1] == {"table": "outreach.orders", "key": ["ord-1"], "kind": "missing", "columns": []}
    done = run("outreach.clients")
    assert done.exit_code == 0
    assert done.stdout.startswith("outreach.clients: 2 rows from 1 events in ")
    assert "writers waited for " in done.stdout
    with psycopg.connect(history) as connection:
        connection.execute("UPDATE outreach.orders SET status = 'shipped', total_minor = 0")
        connection.execute("INSERT INTO outreach.stock VALUES ('store', 'X', 1, now())")
    checked = run("outreach.clients", "--check")
    assert "outreach.orders ord-1: status, total_minor is not what history says" in checked.stdout
    assert "outreach.stock store/X: history knows no such row" in checked.stdout
    line = orjson.loads(run("outreach.clients", "--json").stdout)
    assert line.keys() == {"name", "events", "put_aside", "rows", "seconds", "locked_ms", "differences"}
    assert line["differences"] is None
    assert run("outreach.clients", "--check").exit_code == 0


def test_all_means_those_that_are_there_and_a_service_means_its_own(run: Run, history: str) -> None:
    done = run("all", "--json")
    assert done.exit_code == 0, done.exception
    assert [orjson.loads(line)["name"] for line in done.stdout.splitlines()] == NAMES[1:4]
    assert "crm.inventory: passed over, crm has never run on this database" in done.stderr
    assert [line.split(":")[0] for line in run("outreach").stdout.splitlines()] == NAMES[1:4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("outreach.client",), "there is no read model 'outreach.client': name some of billing.orders, "),
        (("billing.invoices",), "billing has not set up billing.orders in this database: start the service once"),
        (("dialog", "--check"), "compared by `chatledger verify`"),
        (("dialog",), "needs a broker"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_done_is_said(run: Run, history: str, words: tuple[str, ...], said: str) -> None:
    refused = run(*words)
    assert said in str(refused.exception), refused.output
