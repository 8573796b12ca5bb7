"""The whole service on the embedded broker and Postgres: from chat.dialog to chat.billing, stopped by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger_billing.app import set_up_database
from tests.services.billing_given import cause, placed

PROJECTS = Path(__file__).parents[2] / "projects"
DEADLINE_S = 30


@asynccontextmanager
async def service(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chatledger_billing",
        env={**os.environ, "CHATLEDGER_PROJECTS": str(PROJECTS), **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def invoices_when(url: str, count: int) -> list[str]:
    """The numbers of all invoices of the read model, once there are so many."""
    async with asyncio.timeout(DEADLINE_S), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            rows = await (await connection.execute("SELECT number FROM billing.invoices ORDER BY number")).fetchall()
            if len(rows) >= count:
                return [number for (number,) in rows]
            await asyncio.sleep(0.05)


@pytest.mark.postgres
async def test_a_signal_stops_it_and_a_new_broker_changes_nothing(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    orders = [cause(placed(client), client) for client in range(20)]
    for _ in range(2):
        with EmbeddedBroker() as broker:
            producer = await start_producer(broker.bootstrap_servers)
            publisher = KafkaPublisher(producer)
            environment = {
                "CHATLEDGER_BROKER": broker.bootstrap_servers,
                "CHATLEDGER_DATABASE": postgres_url,
                "CHATLEDGER_INCARNATION": broker.incarnation,
            }
            async with service(**environment) as process:
                await publisher.publish(topics.DIALOG, orders)
                numbers = await invoices_when(postgres_url, len(orders))
                assert numbers == [f"INV-2026-{count:06d}" for count in range(1, 21)]
                await positions_reach(postgres_url, broker.incarnation, len(orders))
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(DEADLINE_S):
                    _, log = await process.communicate()
                assert process.returncode == 0, log.decode()
            await producer.stop()


async def positions_reach(url: str, incarnation: str, records: int) -> None:
    """Wait until all records of this life of the broker were handled."""
    query = "SELECT sum(notification_id) FROM billing.aggregate_tracking WHERE application_name LIKE %s"
    async with asyncio.timeout(DEADLINE_S), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(query, (f"{incarnation}:%",))).fetchone()
            if row and row[0] is not None and row[0] >= records:
                return
            await asyncio.sleep(0.05)


async def test_a_wrong_configuration_is_said_in_one_line() -> None:
    async with service(CHATLEDGER_BROKER="unused:1", CHATLEDGER_DATABASE="", CHATLEDGER_PROJECTS="nowhere") as process:
        _, said = await process.communicate()
        assert process.returncode == 2
        assert said.decode().count("\n") == 1
        assert "CHATLEDGER_PROJECTS" in said.decode()
