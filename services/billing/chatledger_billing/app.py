"""The composition root: every part of the service from values, and its life from start to drained stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection, OperationalError

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import (
    KafkaPublisher,
    KafkaSubscription,
    cluster_id,
    new_consumer,
    start_producer,
    stop_producer,
)
from chatledger.adapters.postgres import migrate
from chatledger.errors import OutsideUnavailable
from chatledger.ports import Clock, Publisher
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_billing.edge import consume
from chatledger_billing.handlers import Biller
from chatledger_billing.positions import TrackedPositions
from chatledger_billing.relay import Relay
from chatledger_billing.settings import BillingSettings
from chatledger_billing.store import SCHEMA, BillingStore, postgres_store
from chatledger_billing.worker import Worker

GROUP = "chatledger-billing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """The service's parts, wired."""

    biller: Biller
    relay: Relay
    positions: TrackedPositions


def build(
    *,
    store: BillingStore,
    worker: Worker,
    publisher: Publisher,
    projects: Mapping[str, Project],
    clock: Clock,
    incarnation: str,
) -> Billing:
    """Wire the parts. Whoever gave `store` and `worker` closes them."""
    relay = Relay(store=store, worker=worker, publisher=publisher, projects=projects)
    biller = Biller(
        store=store,
        worker=worker,
        publisher=publisher,
        projects=projects,
        clock=clock,
        incarnation=incarnation,
        recorded=relay.wake,
    )
    return Billing(biller=biller, relay=relay, positions=TrackedPositions(store, worker, incarnation=incarnation))


async def set_up_database(url: str) -> None:
    """Make or bring up to date all tables of the schema `billing`; several processes may do so at once.

    Raises OutsideUnavailable.
    """
    await migrate(url, schema=SCHEMA, package="chatledger_billing")
    try:
        async with await AsyncConnection.connect(url) as connection:
            # The library makes its tables in several transactions, on connections of its own.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('chatledger migrations'))")
            await asyncio.to_thread(_make_library_tables, url)
    except OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong


def _make_library_tables(url: str) -> None:
    postgres_store(url, create_tables=True).close()


async def run(settings: BillingSettings, stop: asyncio.Event) -> None:
    """Consume and relay until `stop` is set, then finish what is in hand. Raises whatever ends the process."""
    projects = load_projects(settings.projects)
    await set_up_database(settings.database)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    producer = await start_producer(settings.broker)
    worker = Worker()
    store = postgres_store(settings.database)
    consumer = new_consumer(settings.broker, group=GROUP)
    try:
        billing = build(
            store=store,
            worker=worker,
            publisher=KafkaPublisher(producer),
            projects=projects,
            clock=SystemClock(),
            incarnation=incarnation,
        )
        subscription = KafkaSubscription(consumer, topics=[topics.DIALOG], positions=billing.positions)
        await consumer.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_consume_then_close(subscription, billing))
            tasks.create_task(billing.relay.run(settings.database))
            tasks.create_task(_close_on(stop, subscription))
    finally:
        await consumer.stop()
        await stop_producer(producer)
        worker.close()
        store.close()


async def _consume_then_close(subscription: KafkaSubscription, billing: Billing) -> None:
    await consume(subscription, billing.biller)
    billing.relay.close()


async def _close_on(stop: asyncio.Event, subscription: KafkaSubscription) -> None:
    await stop.wait()
    await subscription.close()
