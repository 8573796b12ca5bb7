"""The notify process: how it ends, what a crash after the provider's answer leaves, and two of them side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka_topics import create_topics
from chatledger.topics import DIALOG, NOTIFY, PLANS
from tests.support.notify import eventually, publishing, query, reading, reply, worker
from tests.support.provider import Answer, ScriptedProvider

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
