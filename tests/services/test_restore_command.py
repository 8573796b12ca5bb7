"""`chatledger restore` as an operator types it, on a real Kafka: what it refuses, what it says, what it does twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from aiokafka import AIOKafkaConsumer
from typer.testing import CliRunner

from chatledger import topics
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.errors import ConfigurationError
from chatledger_cli import restore_command
from chatledger_cli.backends import make_topics
from chatledger_cli.running import only_one
from chatledger_ledger.refill import Standing
from chatledger_ledger.restore_broker import standings
from chatledger_ledger.restore_plan import EVERYWHERE
from tests.support.dialog import PROJECTS, message
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.ledger import history
from tests.support.restore import LostBroker, set_up

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres]

Run = Callable[..., Any]
PLACED = [*history("77"), *history("78", invoice=2)]


@pytest.fixture(scope="module")
def kafka() -> Iterator[RealKafka]:
    """A broker of our own, whose topics are the services'."""
    require_java_and_maven()
    with RealKafka() as broker:
        yield broker


@pytest.fixture
def run(kafka: RealKafka, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, on a ledger whose broker was lost."""

    async def record() -> None:
        await set_up(postgres_url)
        lost = LostBroker("lost")
        await lost.record(postgres_url, lost.put(PLACED))

    asyncio.run(record())
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHATLEDGER_PROJECTS", str(PROJECTS))
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.setenv("CHATLEDGER_BROKER", kafka.bootstrap_servers)
    app = typer.Typer(pretty_exceptions_enable=False)
    restore_command.register(app)
    return lambda *words: CliRunner().invoke(app, words)


def refusal(result: Any) -> str:
    """Why it was refused."""
    assert isinstance(result.exception, ConfigurationError), result.output
    return str(result.exception)


def ends(kafka: RealKafka) -> int:
    """How much is on the topics."""
    found: dict[Any, Standing] = asyncio.run(standings(kafka.bootstrap_servers, EVERYWHERE))
    return sum(each.end for each in found.values())


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_it_refuses_what_would_do_harm_and_can_be_repeated(
    run: Run, kafka: RealKafka, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    would = run("--dry-run")
    assert "would be put back" in would.stdout
    assert f"{len(PLACED):,} events" in would.stdout

    with only_one(tmp_path):
        assert "runs on" in refusal(run())

    async def read_while(group: str) -> str:
        consumer = AIOKafkaConsumer(
            topics.INBOUND, bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            return refusal(await asyncio.to_thread(run))
        finally:
            await consumer.stop()

    asyncio.run(make_topics(kafka.bootstrap_servers))
    assert "chatledger-crm (1)" in asyncio.run(read_while("chatledger-crm"))

    async def publish_early() -> None:
        producer = await start_producer(kafka.bootstrap_servers)
        await KafkaPublisher(producer).publish(topics.INBOUND, [message("79", 1, "I am early")])
        await producer.stop()

    asyncio.run(publish_early())
    assert "chat.inbound (1)" in refusal(run())
    assert ends(kafka) == 1

    done = json.loads(run("--force", "--json").stdout)
    assert {name: done[name] for name in ("events", "conversations", "topics", "lost")} == {
        "events": len(PLACED),
        "conversations": 2,
        "topics": len(topics.PLANS),
        "lost": 0,
    }
    assert ends(kafka) == len(PLACED) + 2
    again = run()
    assert again.exit_code == 0
    assert "restored already" in again.stdout
    assert ends(kafka) == len(PLACED) + 2

    monkeypatch.setenv("CHATLEDGER_INCARNATION", "another-name")
    assert "hold records already" in refusal(run())


def test_a_broker_that_services_have_worked_on_is_left_alone(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATLEDGER_INCARNATION", "lost")
    assert "services have worked on this broker already" in refusal(run())


def test_a_restore_that_was_begun_keeps_its_bounds(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATLEDGER_INCARNATION", "begun")
    execute(postgres_url, "INSERT INTO ledger.restores VALUES ('begun', 'chat.inbound', 0, 0, 0, 5)")
    assert "goes on with its own bounds" in refusal(run("--since", "-7d"))


def test_a_ledger_of_an_earlier_version_is_not_brought_up_to_date_by_looking(run: Run, postgres_url: str) -> None:
    execute(postgres_url, "DROP TABLE ledger.restores")
    assert "of an earlier version" in refusal(run("--dry-run"))


def test_it_needs_a_broker_and_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not a time" in refusal(run("--since", "soonish"))
    monkeypatch.delenv("CHATLEDGER_BROKER")
    assert "set CHATLEDGER_BROKER" in refusal(run())
