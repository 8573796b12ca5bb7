"""The composition root: every part of the service, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

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
from chatledger.adapters.lag import watch_lag
from chatledger.adapters.postgres import Pool, PostgresPositions, open_pool
from chatledger.adapters.relay import OutboxRelay
from chatledger.ports import Clock, Publisher, Subscription
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_outreach import campaign_tasks, reminder_tasks
from chatledger_outreach.assembly import SCHEMA, set_up_database, wired
from chatledger_outreach.edge import consume
from chatledger_outreach.handlers import TOPICS
from chatledger_outreach.intake import Intake
from chatledger_outreach.jobs import with_search_path
from chatledger_outreach.parts import Outreach, with_outreach
from chatledger_outreach.relay import NAME as RELAY_NAME
from chatledger_outreach.relay import publish_step
from chatledger_outreach.settings import SERVICE, OutreachSettings
from chatledger_outreach.sweep import Sweep

GROUP = "chatledger-outreach"
CONNECTIONS_BESIDE_JOBS = 6
"""One each for the intake, its positions, a rebalance, the sweep, procrastinate's own bookkeeping, and one to spare."""

_log = structlog.get_logger()


async def run(settings: OutreachSettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then drain. Raises ConfigurationError, or what ends the process."""
    projects = with_outreach(load_projects(settings.projects))
    if not projects:
        _log.warning("outreach.idle", hint="no project file has a section outreach")
        await stop.wait()
        return
    await set_up_database(settings.database)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    async with AsyncExitStack() as opened:
        connections_max = settings.outreach_concurrency + CONNECTIONS_BESIDE_JOBS
        pool = await open_pool(with_search_path(settings.database), connections_max=connections_max)
        opened.push_async_callback(pool.close)
        producer = await start_producer(settings.broker)
        opened.push_async_callback(stop_producer, producer)
        service = await build(
            pool=pool,
            database_url=settings.database,
            publisher=KafkaPublisher(producer),
            projects=projects,
            incarnation=incarnation,
            clock=SystemClock(),
            concurrency=settings.outreach_concurrency,
        )
        consumer = new_consumer(settings.broker, group=GROUP)
        opened.push_async_callback(consumer.stop)
        subscription = KafkaSubscription(consumer, topics=TOPICS, positions=service.positions)
        await consumer.start()
        _log.info("outreach.ready", incarnation=incarnation, projects=sorted(projects))
        await service.run(subscription, stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutreachService:
    """The parts of one worker. `positions` is for its subscription."""

    outreach: Outreach
    positions: PostgresPositions
    intake: Intake
    relay: OutboxRelay
    sweep: Sweep
    database_url: str
    concurrency: int

    async def run(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: jobs in hand are finished, what was decided is published.

        Raises what ended it otherwise, in an ExceptionGroup; nothing is lost, the tables tell the next process.
        """
        async with asyncio.TaskGroup() as group:
            lag = group.create_task(watch_lag(subscription, service=SERVICE))
            relay = group.create_task(self.relay.run(self.database_url))
            jobs = group.create_task(self.outreach.jobs.run(stop, concurrency=self.concurrency))
            sweep = group.create_task(self.sweep.run())
            intake = group.create_task(consume(subscription, self.intake, self.outreach.pool))
            await stop.wait()
            self.sweep.close()
            await subscription.close()
            await asyncio.gather(intake, jobs, sweep)
            self.relay.close()
            await relay
            lag.cancel()


async def build(
    *,
    pool: Pool,
    database_url: str,
    publisher: Publisher,
    projects: Mapping[str, Project],
    incarnation: str,
    clock: Clock,
    concurrency: int = 8,
) -> OutreachService:
    """Put one worker together. The pool needs room for six connections beside one a job; the schemas must be there."""
    relay = OutboxRelay(partial(publish_step, publisher), name=RELAY_NAME)
    outreach = await wired(pool, projects, clock=clock, committed=relay.wake)
    sources = [reminder_tasks.register(outreach), campaign_tasks.register(outreach)]
    positions = PostgresPositions(pool, schema=SCHEMA, incarnation=incarnation)
    return OutreachService(
        outreach=outreach,
        positions=positions,
        intake=Intake(outreach=outreach, positions=positions, incarnation=incarnation, publisher=publisher),
        relay=relay,
        sweep=Sweep(pool=pool, jobs=outreach.jobs, clock=clock, sources=sources),
        database_url=database_url,
        concurrency=concurrency,
    )
