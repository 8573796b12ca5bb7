"""The composition root: every part of the service, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import structlog

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import (
    KafkaPublisher,
    KafkaSubscription,
    cluster_id,
    new_consumer,
    start_producer,
    stop_producer,
)
from chatledger.adapters.postgres import Pool, PostgresPositions, migrate, open_pool
from chatledger.ports import Clock, Publisher, Subscription
from chatledger.project_files import load_projects
from chatledger.topics import DIALOG
from chatledger_notify.edge import consume, watch_lag
from chatledger_notify.failpoint import Failpoint
from chatledger_notify.intake import Intake
from chatledger_notify.outbox import Outbox
from chatledger_notify.ownership import OwnedPositions, Ownership
from chatledger_notify.provider import Accounts, Provider
from chatledger_notify.schedule import RetrySchedule
from chatledger_notify.sender import Sender
from chatledger_notify.settings import NotifySettings, accounts_of
from chatledger_notify.store import PACKAGE, SCHEMA, NotifyStore
from chatledger_notify.timers import TimerService
from chatledger_notify.transport import AiohttpTransport

GROUP = "chatledger-notify"
CONNECTIONS_MAX = 6
"""One each for the intake, a rebalance beside it, the sender, the outbox, the timers, and one to spare."""

_log = structlog.get_logger()


async def run(settings: NotifySettings, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set, then drain. Raises ConfigurationError, or what ends the process."""
    projects = load_projects(settings.projects)
    accounts = accounts_of(projects, os.environ)
    for project, channel in (account for account, secrets in accounts.items() if secrets is None):
        variable = projects[project].channels[channel].api_token_env
        hint = f"set {variable}; until then its messages are tried again, and fail after the last of the slow retries"
        _log.warning("channel.no_token", project=project, channel=channel, hint=hint)
    await migrate(settings.database, schema=SCHEMA, package=PACKAGE)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    async with AsyncExitStack() as opened:
        pool = await open_pool(settings.database, connections_max=CONNECTIONS_MAX)
        opened.push_async_callback(pool.close)
        transport = AiohttpTransport(connections_max=settings.notify_concurrency, timeout_s=settings.notify_timeout_s)
        client = httpx.AsyncClient(transport=transport, timeout=settings.notify_timeout_s, trust_env=False)
        opened.push_async_callback(client.aclose)
        producer = await start_producer(settings.broker)
        opened.push_async_callback(stop_producer, producer)
        service = build(
            pool=pool,
            database_url=settings.database,
            publisher=KafkaPublisher(producer),
            client=client,
            accounts=accounts,
            incarnation=incarnation,
            clock=SystemClock(),
            schedule=settings.schedule(),
            concurrency=settings.notify_concurrency,
            failpoint=settings.failpoint_or_none(),
        )
        consumer = new_consumer(settings.broker, group=GROUP)
        opened.push_async_callback(consumer.stop)
        subscription = KafkaSubscription(consumer, topics=[DIALOG], positions=service.positions)
        await consumer.start()
        _log.info("notify.ready", incarnation=incarnation)
        await service.run(subscription, stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyService:
    """The parts of one worker. `positions` is for its subscription, which tells through it what was assigned."""

    positions: OwnedPositions
    intake: Intake
    sender: Sender
    outbox: Outbox
    timers: TimerService
    ownership: Ownership
    pool: Pool
    database_url: str

    async def run(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: what is being sent is answered, recorded and published.

        Raises what ended it otherwise, in an ExceptionGroup; nothing is lost, the tables tell the next process.
        """
        async with asyncio.TaskGroup() as group:
            lag = group.create_task(watch_lag(subscription))
            ownership = group.create_task(self.ownership.run(self.database_url))
            outbox = group.create_task(self.outbox.run())
            sender = group.create_task(self.sender.run(self.outbox))
            timers = group.create_task(self.timers.run())
            intake = group.create_task(consume(subscription, self.intake, self.pool))
            await stop.wait()
            # What is still taken in stays in the table for the next process.
            self.sender.stop()
            self.timers.stop()
            await subscription.close()
            await asyncio.gather(intake, sender, timers)
            self.outbox.stop()
            await outbox
            self.ownership.stop()
            await ownership
            lag.cancel()


def build(
    *,
    pool: Pool,
    database_url: str,
    publisher: Publisher,
    client: httpx.AsyncClient,
    accounts: Accounts,
    incarnation: str,
    clock: Clock,
    schedule: RetrySchedule,
    concurrency: int = 64,
    jitter: Callable[[], float] = lambda: random.uniform(-1.0, 1.0),
    failpoint: Failpoint | None = None,
) -> NotifyService:
    """Put one worker together. The pool needs room for six connections; the schema must be migrated."""
    store = NotifyStore(pool)
    provider = Provider(client, accounts)
    sender = Sender(
        store=store,
        provider=provider,
        clock=clock,
        jitter=jitter,
        schedule=schedule,
        concurrency=concurrency,
        failpoint=failpoint,
    )
    outbox = Outbox(store=store, pool=pool, publisher=publisher, settled=sender.settled)
    timers = TimerService(store=store, publisher=publisher, clock=clock, owned=lambda: sorted(sender.queues.owned))

    async def acquired(partition: int) -> None:
        async with sender.gate():
            sender.queues.own(partition)
            await sender.take_from_table(partition)
        outbox.republish(await store.load_unpublished(partition))
        timers.wake()

    ownership = Ownership(queues=sender.queues, acquired=acquired)
    positions = PostgresPositions(pool, schema=SCHEMA, incarnation=incarnation)
    intake = Intake(
        store=store,
        positions=positions,
        incarnation=incarnation,
        publisher=publisher,
        provider=provider,
        sender=sender,
        timers=timers,
        clock=clock,
    )
    return NotifyService(
        positions=OwnedPositions(positions, ownership),
        intake=intake,
        sender=sender,
        outbox=outbox,
        timers=timers,
        ownership=ownership,
        pool=pool,
        database_url=database_url,
    )
