"""The whole line on a real Kafka and Postgres: the dialogue, killed services under load, a drain under load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from itertools import groupby

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chatledger import topics
from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger_ledger.findings import Report
from chatledger_ledger.verification import BrokerAddress, verify
from tests.e2e.dialogue import ORDER_NUMBER, TEXTS, check_what_came_of_it, order, order_and_invoice
from tests.e2e.load import Load
from tests.e2e.up_process import UpProcess, until
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.postgres import fresh_database
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(180)]

LOAD_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 60.0


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
        folder = tmp_path_factory.mktemp("real")
        up = UpProcess(folder, provider_url=provider.url, broker=kafka.bootstrap_servers, database=database)
        try:
            yield up.start()
        finally:
            up.kill()


@pytest.fixture
def http(system: UpProcess) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client


def verified(system: UpProcess, acknowledged: list[str]) -> Report:
    broker = BrokerAddress(bootstrap_servers=system.environment["CHATLEDGER_BROKER"])
    database = system.environment["CHATLEDGER_DATABASE"]
    report = asyncio.run(verify(database, broker=broker, acknowledged=acknowledged, settle_s=SETTLE_TIMEOUT_S))
    assert report.violations == 0, [finding for finding in report.findings if finding.violations]
    return report


def test_a_customer_orders(system: UpProcess, provider: ScriptedProvider, http: httpx.Client) -> None:
    number = order(http, provider, 201)
    check_what_came_of_it(system, http, number, 201)
    report = json.loads(system.run("verify", "--settle", "20", "--json").stdout)
    assert report["violations"] == 0


async def test_any_tool_can_read_the_topics(
    system: UpProcess, provider: ScriptedProvider, kafka: RealKafka, http: httpx.Client
) -> None:
    await asyncio.to_thread(lambda: order_and_invoice(http, order(http, provider, 202)))
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)
    await consumer.start()
    try:
        everywhere = [TopicPartition(name, number) for name in topics.ALL for number in range(topics.PARTITIONS)]
        consumer.assign(everywhere)
        await consumer.seek_to_beginning()
        left = sum((await consumer.end_offsets(everywhere)).values())
        types: set[str] = set()
        partitions: dict[bytes, set[int]] = {}
        while left > 0:
            record = await asyncio.wait_for(consumer.getone(), 10)
            left -= 1
            headers = {name: value.decode() for name, value in record.headers}
            assert isinstance(json.loads(record.value), dict)
            assert record.key.decode() == headers["ce_subject"]
            assert headers["ce_subject"].startswith("order-form/chat2desk/")
            assert headers["ce_specversion"] == "1.0"
            assert {"ce_id", "ce_source", "ce_type", "ce_time", "ce_dataschema", "content-type"} <= headers.keys()
            types.add(headers["ce_type"])
            partitions.setdefault(record.key, set()).add(record.partition)
    finally:
        await consumer.stop()
    assert {"message.received", "order.placed", "invoice.issued", "message.sent"} <= types
    assert all(len(numbers) == 1 for numbers in partitions.values())


def test_killed_services_lose_and_double_nothing(system: UpProcess, provider: ScriptedProvider) -> None:
    before = len({message.idempotency_key for message in provider.received})
    clients = 400
    with Load(url=system.url, first_client=10_000, clients=clients, webhooks_per_second=150) as load:
        until(lambda: len(load.acknowledged) > 300, timeout_s=LOAD_TIMEOUT_S, what="the load is under way")
        system.child("chatledger_dialog").kill()
        until(lambda: len(load.acknowledged) > 800, timeout_s=LOAD_TIMEOUT_S, what="the load goes on")
        system.child("chatledger_ledger").kill()
        assert load.done.wait(LOAD_TIMEOUT_S)
    assert len(load.acknowledged) == load.expected

    def replies() -> int:
        return len({message.idempotency_key for message in provider.received}) - before

    until(lambda: replies() >= load.expected, timeout_s=SETTLE_TIMEOUT_S, what="every message is replied to")
    assert replies() == load.expected
    verified(system, load.acknowledged)
    orders = json.loads(system.run("replay", "--json").stdout.splitlines()[-1])
    assert orders["events"] > load.expected * 3
    assert '"event":"dialog-0 was ended by SIGKILL' in system.log
    assert '"event":"ledger was ended by SIGKILL' in system.log


def test_killed_notify_and_billing_keep_each_clients_order(system: UpProcess, provider: ScriptedProvider) -> None:
    clients = [str(30_000 + number) for number in range(240)]
    kills = ((200, "notify"), (420, "billing"), (640, "notify"), (860, "billing"))
    with Load(url=system.url, first_client=30_000, clients=len(clients), webhooks_per_second=150) as load:
        for acknowledged, service in kills:
            until(partial(_has_come_to, load, acknowledged), timeout_s=LOAD_TIMEOUT_S, what="the load goes on")
            system.child(f"chatledger_{service}").kill()
        assert load.done.wait(LOAD_TIMEOUT_S)
    # It waits until all is settled, and counts the invoices' numbers among the rest.
    verified(system, load.acknowledged)
    came: dict[str, list[tuple[str, str]]] = {client: [] for client in clients}
    for message in provider.received:
        if message.client_id in came:
            came[message.client_id].append((message.idempotency_key, ORDER_NUMBER.sub("", message.text)))
    # A message may come again with its key, but before the next one; each client gets the same replies.
    replies = {tuple(text for (_, text), _ in groupby(each)) for each in came.values()}
    assert len(replies) == 1, replies
    assert len(replies.pop()) == len(TEXTS)
    assert all(len(list(groupby(each))) == len(set(each)) for each in came.values())


def _has_come_to(load: Load, acknowledged: int) -> bool:
    return len(load.acknowledged) > acknowledged


def test_a_stop_under_load_loses_nothing(system: UpProcess, provider: ScriptedProvider) -> None:
    with Load(url=system.url, first_client=20_000, clients=200, webhooks_per_second=150) as load:
        until(lambda: len(load.acknowledged) > 200, timeout_s=LOAD_TIMEOUT_S, what="the load is under way")
        code = system.stop()
    assert code == 0, system.log[-3000:]
    assert not (system.folder / "var" / "up.json").exists()
    assert load.acknowledged
    system.start()
    verified(system, load.acknowledged)
    assert system.stop() == 0
