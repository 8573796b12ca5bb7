"""The recorder as a process, on real Kafka and Postgres: killed in mid-load, it goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.postgres import migrate
from chatledger.events.codec import Headers, to_wire
from chatledger.replay import fold
from chatledger_ledger.broker_view import dialog_workers, open_broker_view
from chatledger_ledger.rebuild import rebuild_dialog
from chatledger_ledger.verification import BrokerAddress, verify
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.ledger import Placed, history, open_ledger

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.slow]

CLIENTS = 600
DEADLINE_S = 60.0


@cache
def placed() -> Placed:
    """What everybody said and what became of it: some 13,000 events."""
    return [pair for number in range(CLIENTS) for pair in history(str(number), invoice=number + 1)]


@pytest.fixture
def kafka_alone() -> Iterator[RealKafka]:
    """A broker of its own: the topics have their real names here."""
    require_java_and_maven()
    with RealKafka() as kafka:
        yield kafka


@contextlib.contextmanager
def recorder(broker: str, database: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "CHATLEDGER_BROKER": broker,
        "CHATLEDGER_DATABASE": database,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with log.open("ab") as said:
        process = subprocess.Popen([sys.executable, "-m", "chatledger_ledger"], env=environment, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def recorded_events(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT count(*) FROM ledger.events").fetchone()
    return int(row[0]) if row else 0


def tail_of(log: Path) -> str:
    return log.read_text()[-3000:]


async def until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, tail_of(log)
        await asyncio.sleep(0.02)


async def publish_all(broker: str) -> None:
    producer = await start_producer(broker, linger_ms=5)
    try:
        publisher = KafkaPublisher(producer, timeout_s=60)
        for start in range(0, len(placed()), 4_000):
            by_topic: dict[str, list[tuple[bytes, bytes | None, Headers]]] = {}
            for topic, envelope in placed()[start : start + 4_000]:
                wire = to_wire(envelope)
                by_topic.setdefault(topic, []).append((wire.key, wire.value, wire.headers))
            for topic, records in by_topic.items():
                await publisher.publish_raw(topic, records)
    finally:
        await producer.stop()


async def make_topics(broker: str) -> None:
    await create_topics(
        broker,
        {
            plan.name: (plan.partitions, {"cleanup.policy": "compact"} if plan.compacted else {})
            for plan in topics.PLANS
        },
    )


async def test_a_recorder_killed_in_mid_load_loses_and_doubles_nothing(kafka_alone, postgres_url, tmp_path):
    broker, log = kafka_alone.bootstrap_servers, tmp_path / "recorder.log"
    await make_topics(broker)
    await migrate(postgres_url, schema="ledger", package="chatledger_ledger")
    publishing = asyncio.create_task(publish_all(broker))
    with recorder(broker, postgres_url, log) as first:
        await until(lambda: recorded_events(postgres_url) > 1_000, log)
        first.send_signal(signal.SIGKILL)
        first.wait()
    at_the_kill = recorded_events(postgres_url)
    await publishing
    with recorder(broker, postgres_url, log) as second:
        await until(lambda: recorded_events(postgres_url) >= len(placed()), log)
        second.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(second.wait, 15) == 0, tail_of(log)
    assert 1_000 < at_the_kill < len(placed()), "the kill came too late to prove anything"
    assert recorded_events(postgres_url) == len(placed())
    await the_table_can_be_rebuilt_and_verified(broker, postgres_url)


async def the_table_can_be_rebuilt_and_verified(broker: str, database: str) -> None:
    """With no dialog worker the changelog is empty, which verify sees; a rebuild mends it."""
    acknowledged = [envelope.id for topic, envelope in placed() if topic == topics.INBOUND]
    address = BrokerAddress(bootstrap_servers=broker)
    before = await verify(database, broker=address, acknowledged=acknowledged)
    assert {finding.name: finding.violations for finding in before.findings} == {
        "I1": 0, "I2": 0, "I4": 0, "I5": CLIENTS, "I6": 0, "I7": 0, "I8": 0
    }  # fmt: skip
    assert await dialog_workers(broker) == 0
    await rebuild_table(broker, database)
    after = await verify(database, broker=address, acknowledged=acknowledged, settle_s=5)
    assert after.violations == 0, after.findings


async def rebuild_table(broker: str, database: str) -> None:
    producer = await start_producer(broker, linger_ms=5)
    try:
        async with open_ledger(database) as ledger:
            count = await rebuild_dialog(ledger, KafkaPublisher(producer, timeout_s=30).publish_raw)
        assert count == len(fold(envelope for _, envelope in placed())) == CLIENTS
        async with open_broker_view(broker) as view:
            assert len((await view.dialog_table()).entries) == CLIENTS
    finally:
        await producer.stop()
