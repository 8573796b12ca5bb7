"""The broker and the database of one run: those that were asked for by URL, or embedded ones that live as long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from chatledger import topics
from chatledger.adapters.api_keys import migrate_api_keys
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger.adapters.kafka import cluster_id
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.postgres import migrate
from chatledger_billing.app import set_up_database as set_up_billing
from chatledger_cli.running import POSTGRES_FOLDER
from chatledger_cli.up_settings import UpSettings

SCHEMAS = {name: f"chatledger_{name}" for name in ("ledger", "notify", "outreach", "crm")}
"""Services whose schemas are their migrations alone, and their packages. Billing's library makes tables too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where the broker and the database are, and whether they end with us."""

    broker: str
    incarnation: str
    database: str
    broker_is_embedded: bool
    database_is_embedded: bool


@contextlib.asynccontextmanager
async def open_backends(settings: UpSettings) -> AsyncIterator[Backends]:
    """Start what is embedded, and stop it at the end. Raises ConfigurationError, OutsideUnavailable.

    The embedded broker runs in threads written in C, so it may live in a supervisor that is busy.
    """
    broker, database = settings.broker or None, settings.database_url or None
    async with contextlib.AsyncExitStack() as stack:
        if database is None:
            server = EmbeddedPostgres(settings.data_dir.resolve() / POSTGRES_FOLDER)
            await asyncio.to_thread(server.start)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            database_url = server.url
        else:
            database_url = database
        if broker is None:
            embedded = stack.enter_context(EmbeddedBroker())
            address, incarnation = embedded.bootstrap_servers, embedded.incarnation
        else:
            address, incarnation = broker, settings.incarnation or await cluster_id(broker)
        yield Backends(
            broker=address,
            incarnation=incarnation,
            database=database_url,
            broker_is_embedded=broker is None,
            database_is_embedded=database is None,
        )


async def make_topics(broker: str) -> list[str]:
    """Create, on a real broker, the topics that are missing; return their names. Raises BrokerUnavailable."""
    return await create_topics(
        broker,
        {
            plan.name: (plan.partitions, {"cleanup.policy": "compact"} if plan.compacted else {})
            for plan in topics.PLANS
        },
    )


async def migrate_all(database: str, services: Sequence[str]) -> None:
    """Bring the schemas of the API keys and of `services` up to date. Raises OutsideUnavailable, ConfigurationError.

    The tables of outreach's job library are left to outreach, which makes them before it uses them: nothing else does.
    """
    await migrate_api_keys(database)
    for name in services:
        if name in SCHEMAS:
            await migrate(database, schema=name, package=SCHEMAS[name])
    await set_up_billing(database)
