"""A real broker that is killed: refusals in bounded time, recovery without a restart, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from chatledger.adapters.kafka_topics import create_topics
from tests.services.ingress_process import running_ingress, stored_ids
from tests.support.kafka import RealKafka, require_java_and_maven

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
ANSWER_S_MAX = 5.0
SENDERS = 8


@pytest.fixture
def own_kafka() -> Iterator[RealKafka]:
    require_java_and_maven()
    with RealKafka() as kafka:
        yield kafka


@dataclass
class Sent:
    """What the senders saw."""

    acknowledged: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    slowest_s: float = 0.0
    next_id: int = 0

    async def send(self, client: httpx.AsyncClient) -> int:
        self.next_id += 1
        body = {"client_id": self.next_id % 50, "message_id": self.next_id, "text": "hello"}
        sent_at = time.monotonic()
        answer = await client.post("/webhook/chat2desk", json=body)
        self.slowest_s = max(self.slowest_s, time.monotonic() - sent_at)
        self.statuses.append(answer.status_code)
        if answer.status_code == 200:
            self.acknowledged.add(answer.headers["x-event-id"])
        else:
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status_code


async def test_kill_and_restart_of_the_broker(own_kafka, tmp_path):
    await create_topics(own_kafka.bootstrap_servers, {"chat.inbound": (4, {})})
    sent = Sent()
    with running_ingress({"CHATLEDGER_BROKER": own_kafka.bootstrap_servers}, tmp_path) as (ingress, port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            ending = asyncio.Event()
            senders = [asyncio.create_task(send_until(ending, sent, client)) for _ in range(SENDERS)]
            await until(lambda: len(sent.acknowledged) > 100)

            await asyncio.to_thread(own_kafka.kill)
            await until(lambda: sent.statuses.count(503) >= 2 * SENDERS)
            assert (await client.get("/health")).json()["checks"]["broker"] is False

            await asyncio.to_thread(own_kafka.start)
            before = len(sent.acknowledged)
            await until(lambda: len(sent.acknowledged) > before + 100)
            ending.set()
            await asyncio.gather(*senders)
            checks = (await client.get("/health")).json()["checks"]
            assert checks["broker"] is True
            assert checks["queues"]["message"] == len(await stored_ids(own_kafka.bootstrap_servers))
        assert ingress.process.poll() is None

    stored = set(await stored_ids(own_kafka.bootstrap_servers))
    assert sent.acknowledged <= stored
    assert sent.slowest_s < ANSWER_S_MAX


async def test_a_broker_that_lost_its_data_gets_a_new_producer(own_kafka, tmp_path):
    await create_topics(own_kafka.bootstrap_servers, {"chat.inbound": (4, {})})
    sent = Sent()
    with running_ingress({"CHATLEDGER_BROKER": own_kafka.bootstrap_servers}, tmp_path) as (_, port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            for _ in range(20):
                assert await sent.send(client) == 200

            await asyncio.to_thread(own_kafka.wipe)
            await asyncio.to_thread(own_kafka.start)
            await create_topics(own_kafka.bootstrap_servers, {"chat.inbound": (4, {})})
            sent.acknowledged.clear()
            deadline = time.monotonic() + 60
            while len(sent.acknowledged) < 200:
                assert time.monotonic() < deadline, sent.statuses[-20:]
                await sent.send(client)

    assert sent.acknowledged <= set(await stored_ids(own_kafka.bootstrap_servers))
    assert sent.slowest_s < ANSWER_S_MAX


async def test_it_starts_without_a_broker_and_finds_it_later(own_kafka, tmp_path):
    own_kafka.stop()
    sent = Sent()
    with running_ingress({"CHATLEDGER_BROKER": own_kafka.bootstrap_servers}, tmp_path) as (_, port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            assert await sent.send(client) == 503
            await asyncio.to_thread(own_kafka.start)
            await create_topics(own_kafka.bootstrap_servers, {"chat.inbound": (4, {})})
            deadline = time.monotonic() + 30
            while await sent.send(client) != 200:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)


async def send_until(ending: asyncio.Event, sent: Sent, client: httpx.AsyncClient) -> None:
    while not ending.is_set():
        await sent.send(client)
        await asyncio.sleep(0.005)


async def until(condition, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.02)
