"""The whole service on the embedded broker, Postgres and the stand-in for Zoho, stopped by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import yaml

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.events import Envelope
from chatledger.events.inventory import InventoryUpdated, OrderSynced
from chatledger_cli.zoho_stand_in import ZohoStandIn
from tests.support.crm import CEMENT, ROD, billed
from tests.support.notify import Reading, eventually, reading

PROJECTS = Path(__file__).parents[2] / "projects"
DEADLINE_S = 30
SECRETS = {"ZOHO_CLIENT_ID": "1000.id", "ZOHO_CLIENT_SECRET": "secret", "ZOHO_REFRESH_TOKEN": "1000.refresh"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the store, which has a CRM here."""
    document = yaml.safe_load((PROJECTS / "store.yaml").read_text("utf-8"))
    (tmp_path / "store.yaml").write_text(yaml.safe_dump({**document, "crm": {"kind": "zoho"}}), "utf-8")
    return tmp_path


@pytest.fixture
async def zoho() -> AsyncIterator[ZohoStandIn]:
    stand_in = await ZohoStandIn([CEMENT, ROD]).start()
    yield stand_in
    await stand_in.stop()


@asynccontextmanager
async def service(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatledger_crm"), env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def settings(broker: EmbeddedBroker, database: str, folder: Path, zoho: ZohoStandIn) -> dict[str, str]:
    return {
        "CHATLEDGER_BROKER": broker.bootstrap_servers,
        "CHATLEDGER_INCARNATION": broker.incarnation,
        "CHATLEDGER_DATABASE": database,
        "CHATLEDGER_PROJECTS": str(folder),
        "ZOHO_API_URL": zoho.url,
        "ZOHO_ACCOUNTS_URL": zoho.url,
    }


async def publish(broker: EmbeddedBroker, envelopes: Sequence[Envelope]) -> None:
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.BILLING, envelopes)
    finally:
        await producer.stop()


async def drained(process: asyncio.subprocess.Process) -> str:
    """SIGTERM; returns the log."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        _, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    return log.decode()


def told(found: Reading, type_: type) -> list[str]:
    return sorted(each.id for each in found.envelopes if isinstance(each.data, type_))


@pytest.mark.postgres
async def test_stock_comes_in_orders_go_out_and_a_new_broker_is_told_the_stock_again(postgres_url, folder, zoho):
    orders = [each for number in range(5) for each in billed(client=f"+91990000000{number}")]
    inventory = []
    for life in range(2):
        with EmbeddedBroker() as broker:
            environment = settings(broker, postgres_url, folder, zoho) | SECRETS
            async with reading(broker.bootstrap_servers, topics.INVENTORY) as found, service(**environment) as process:
                await eventually(lambda: len(told(found, InventoryUpdated)) == 2, "the inventory is told")
                await publish(broker, orders)
                if life == 0:
                    await eventually(lambda: len(told(found, OrderSynced)) == len(orders), "the orders are synced")
                await positions_reach(postgres_url, broker.incarnation, len(orders))
                log = await drained(process)
                inventory.append(told(found, InventoryUpdated))
                if life == 1:
                    assert told(found, OrderSynced) == []
        assert "secret" not in log
        assert "+91990" not in log
    assert inventory[0] == inventory[1]
    assert len(zoho.orders) == 5
    assert len(zoho.made("orders")) == len(orders)


async def positions_reach(url: str, incarnation: str, records: int) -> None:
    """Wait until all records of this life of the broker were taken in."""
    await table_exists(url)
    query = "SELECT sum(next_offset) FROM crm.positions WHERE incarnation = %s"
    async with asyncio.timeout(DEADLINE_S), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(query, (incarnation,))).fetchone()
            if row and row[0] is not None and row[0] >= records:
                return
            await asyncio.sleep(0.05)


@pytest.mark.postgres
async def test_without_credentials_orders_wait_and_it_says_what_to_set(postgres_url, folder, zoho):
    with EmbeddedBroker() as broker:
        environment = settings(broker, postgres_url, folder, zoho)
        orders = billed()
        async with service(**environment, ZOHO_CLIENT_ID="") as process:
            await publish(broker, orders)
            await positions_reach(postgres_url, broker.incarnation, len(orders))
            assert "set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET, ZOHO_REFRESH_TOKEN" in await drained(process)
        assert zoho.calls == []
        async with reading(broker.bootstrap_servers, topics.INVENTORY) as found, service(**environment, **SECRETS):
            await eventually(lambda: len(told(found, OrderSynced)) == len(orders), "what waited is synced")


async def table_exists(url: str) -> None:
    """Wait until the schema was migrated."""
    async with asyncio.timeout(DEADLINE_S), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute("SELECT to_regclass('crm.positions')")).fetchone()
            if row and row[0] is not None:
                return
            await asyncio.sleep(0.05)


async def test_without_a_project_that_has_a_crm_it_waits_to_be_stopped() -> None:
    environment = {"CHATLEDGER_BROKER": "unused:1", "CHATLEDGER_DATABASE": "postgresql://unused"}
    async with service(**environment, CHATLEDGER_PROJECTS=str(PROJECTS)) as process:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            assert b"crm.idle" in await process.stderr.readline()
        await drained(process)


async def test_a_wrong_configuration_is_said_in_one_line() -> None:
    async with service(CHATLEDGER_BROKER="unused:1", CHATLEDGER_DATABASE="", CHATLEDGER_PROJECTS="nowhere") as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert said.decode().count("\n") == 1
    assert "CHATLEDGER_PROJECTS" in said.decode()
