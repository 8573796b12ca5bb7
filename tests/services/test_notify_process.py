"""The notify process: how it ends, what a crash after the provider's answer leaves, and two of them side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka_topics import create_topics
from chatledger.topics import DIALOG, INBOUND, NOTIFY, PLANS
from tests.support.notify import eventually, publishing, query, reading, reply, report, whatsapp, worker
from tests.support.provider import ACCEPT_AND_HANG, Answer, ScriptedProvider

pytestmark = pytest.mark.postgres
PROJECTS = Path(__file__).resolve().parents[2] / "projects"


@contextmanager
def process(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a child process, killed at the end if it still runs."""
    with log.open("ab") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "chatledger_notify"],
            env={**os.environ, "CHATLEDGER_PROJECTS": str(PROJECTS), **environment},
            stderr=stderr,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
async def test_a_crash_between_the_answer_and_its_record_repeats_the_key_and_publishes_once(postgres_url, tmp_path):
    log = tmp_path / "notify.log"
    with EmbeddedBroker() as broker, ScriptedProvider() as provider:
        environment = {
            "CHATLEDGER_BROKER": broker.bootstrap_servers,
            "CHATLEDGER_INCARNATION": broker.incarnation,
            "CHATLEDGER_DATABASE": postgres_url,
            "CHAT2DESK_API_URL": provider.url,
            "CHAT2DESK_API_TOKEN": "secret",
            "CHATLEDGER_FAILPOINT": "notify.after_send",
            "CHATLEDGER_FAILPOINT_ONCE": str(tmp_path / "died"),
        }
        requests = [reply("9177", number, text=f"Где вы живёте? {number}") for number in (1, 2)]
        async with (
            publishing(broker.bootstrap_servers) as publisher,
            reading(broker.bootstrap_servers, NOTIFY) as outcomes,
        ):
            await publisher.publish(DIALOG, requests)
            with process(environment, log) as first:
                await eventually(lambda: first.poll() is not None, "it dies at the failpoint")
            assert first.returncode == 70
            assert query(postgres_url, "SELECT status, attempts FROM notify.deliveries") == [("waiting", 0)] * 2
            with process(environment, log) as second:
                await eventually(lambda: len(outcomes.envelopes) == 2, "both outcomes are published")
                second.send_signal(signal.SIGTERM)
                await eventually(lambda: second.poll() is not None, "it drains")
            assert second.returncode == 0, log.read_text()[-2000:]
        keys = [message.idempotency_key for message in provider.received]
        assert keys == [requests[0].id, requests[0].id, requests[1].id]
        assert [outcome.causation_id for outcome in outcomes.envelopes] == [request.id for request in requests]
        lines = log.read_text()
        assert requests[0].correlation_id in lines
        assert "живёте" not in lines
        assert "9177" not in lines.replace(requests[0].id, "").replace(requests[1].id, "")


@pytest.mark.slow
async def test_a_crash_between_the_record_of_reports_and_their_events_loses_none_and_repeats_none(
    postgres_url, tmp_path
):
    with EmbeddedBroker() as broker, ScriptedProvider() as provider:
        provider.script("+2", ACCEPT_AND_HANG)
        environment = {
            "CHATLEDGER_BROKER": broker.bootstrap_servers,
            "CHATLEDGER_INCARNATION": broker.incarnation,
            "CHATLEDGER_DATABASE": postgres_url,
            "CHATLEDGER_NOTIFY_TIMEOUT_S": "0.5",
            "TWILIO_API_URL": provider.url,
            "TWILIO_AUTH_TOKEN": "secret",
            "PUBLIC_BASE_URL": "https://shop.example",
            "CHATLEDGER_FAILPOINT": "notify.after_fold",
            "CHATLEDGER_FAILPOINT_ONCE": str(tmp_path / "died"),
        }
        taken, ambiguous = whatsapp("+1", 1), whatsapp("+2", 1)
        statuses = "SELECT status, reported FROM notify.deliveries ORDER BY conversation"
        async with (
            publishing(broker.bootstrap_servers) as publisher,
            reading(broker.bootstrap_servers, NOTIFY) as outcomes,
        ):
            await publisher.publish(DIALOG, [taken, ambiguous])
            with process(environment, tmp_path / "notify.log") as first:
                tried = "SELECT count(*) FROM notify.deliveries WHERE attempts = 1"
                await eventually(lambda: rows(postgres_url, tried) == [(2,)], "tried")
                await eventually(lambda: outcomes.envelopes, "one is sent, the other waits for a report")
                reports = [
                    report(client, status, message_id=f"SM{client}", delivery_id=request.id)
                    for client, request in (("+1", taken), ("+2", ambiguous))
                    for status in ("read", "delivered")
                ]
                await publisher.publish(INBOUND, reports)
                await eventually(lambda: first.poll() is not None, "it dies at the failpoint")
            assert first.returncode == 70
            assert len(outcomes.envelopes) == 1
            with process(environment, tmp_path / "notify.log") as second:
                await eventually(lambda: query(postgres_url, statuses) == [("sent", "read")] * 2, "both are read")
                untold = "SELECT count(*) FROM notify.statuses"
                await eventually(lambda: query(postgres_url, untold) == [(0,)], "the next process tells the rest")
                second.send_signal(signal.SIGTERM)
                await eventually(lambda: second.poll() is not None, "it drains")
        assert [message.client_id for message in provider.received] == ["+1", "+2"]
        for request in (taken, ambiguous):
            events = [event for event in outcomes.envelopes if event.causation_id == request.id]
            assert len({event.id for event in events}) == 1
            stream = list(
                dict.fromkeys((e.id, e.stream_version) for e in outcomes.envelopes if e.stream == events[0].stream)
            )
            assert [version for _, version in stream] == list(range(1, len(stream) + 1))


def rows(database: str, statement: str) -> Sequence[Any]:
    """The same as `query`, also before the tables are there."""
    try:
        return query(database, statement)
    except psycopg.errors.UndefinedTable:
        return []


def test_a_wrong_setting_is_named_in_one_line_with_status_2(tmp_path):
    environment = {**os.environ, "CHATLEDGER_PROJECTS": str(tmp_path)}
    environment |= {"CHATLEDGER_BROKER": "127.0.0.1:9", "CHATLEDGER_DATABASE": "postgresql://127.0.0.1:9/none"}
    ended = subprocess.run(
        [sys.executable, "-m", "chatledger_notify"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("chatledger-notify: no project files")
    assert ended.stderr.count("\n") == 1


def test_a_database_that_is_away_is_told_apart_from_a_failure():
    environment = {**os.environ, "CHATLEDGER_PROJECTS": str(PROJECTS)}
    environment |= {"CHATLEDGER_BROKER": "127.0.0.1:9", "CHATLEDGER_DATABASE": "postgresql://127.0.0.1:9/none"}
    ended = subprocess.run(
        [sys.executable, "-m", "chatledger_notify"], env=environment, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 75


@pytest.mark.kafka
@pytest.mark.slow
async def test_two_workers_share_the_clients_and_one_leaves(real_kafka, postgres_url):
    broker = real_kafka.bootstrap_servers
    await create_topics(broker, {plan.name: (plan.partitions, {}) for plan in PLANS})
    run = uuid.uuid4().hex[:8]
    clients = [f"{run}.{number}" for number in range(24)]
    wave = [[reply(c, number) for number in range(10 * n + 1, 10 * n + 11) for c in clients] for n in range(3)]
    group = f"notify-{run}"
    with ScriptedProvider() as provider:
        for client in clients:
            provider.script(client, *[Answer(delay_s=0.005)] * 30)
        line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url, "group": group}

        def came() -> int:
            return len(provider.received)

        async with publishing(broker) as publisher, worker(**line, incarnation=run) as first:
            await publisher.publish(DIALOG, wave[0])
            await eventually(lambda: came() > 20, "the first worker sends")
            async with worker(**line, incarnation=run) as second:
                await publisher.publish(DIALOG, wave[1])
                await eventually(lambda: len(second.sender.queues.owned) == 2, "the second has its share")
                assert not first.sender.queues.owned & second.sender.queues.owned
                await eventually(lambda: came() == 480, "two waves are sent")
                await publisher.publish(DIALOG, wave[2])
            await eventually(lambda: len(first.sender.queues.owned) == 4, "the first takes over")
            await eventually(lambda: came() == 720, "the third wave is sent")
            ended = "SELECT count(*) FROM notify.deliveries WHERE status = 'sent' AND published_at IS NOT NULL"
            await eventually(lambda: query(postgres_url, ended) == [(720,)], "and all is recorded")
        for client in clients:
            assert provider.texts(client) == [str(number) for number in range(1, 31)]
