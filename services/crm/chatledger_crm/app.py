"""The composition root: every part of the service, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import httpx
import structlog

from chatledger.adapters.breakers import Breaker, new_breaker
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
from chatledger.adapters.postgres import Pool, PostgresPositions, migrate, open_pool
from chatledger.adapters.relay import OutboxRelay
from chatledger.ports import Clock, Publisher, Subscription
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger.topics import BILLING
from chatledger_crm.breakers import BreakerBoard
from chatledger_crm.edge import consume
from chatledger_crm.intake import Intake
from chatledger_crm.outbox import RELAY_NAME, publish_step
from chatledger_crm.pushing import Pushing
from chatledger_crm.refreshing import Refreshing
from chatledger_crm.settings import SERVICE, CrmSettings, credentials_of, variables_of
from chatledger_crm.zoho import Addresses, Credentials, Zoho

SCHEMA = "crm"
PACKAGE = "chatledger_crm"
GROUP = "chatledger-crm"
CONNECTIONS_MAX = 6
"""One each for the intake, a rebalance beside it, the refreshing, the pushing, the breakers, and one to spare."""
DRAIN_TIMEOUT_S = 5.0
"""A call that takes longer is cut off; what it was about is looked for, or fetched, again."""

_log = structlog.get_logger()


async def run(settings: CrmSettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then drain. Raises ConfigurationError, or what ends the process."""
    projects = with_crm(load_projects(settings.projects))
    if not projects:
        _log.warning("crm.idle", hint="no project file has a section crm")
        await stop.wait()
        return
    credentials = _credentials(projects)
    await migrate(settings.database, schema=SCHEMA, package=PACKAGE)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    async with AsyncExitStack() as opened:
        pool = await open_pool(settings.database, connections_max=CONNECTIONS_MAX)
        opened.push_async_callback(pool.close)
        client = await opened.enter_async_context(httpx.AsyncClient(timeout=settings.crm_timeout_s, trust_env=False))
        producer = await start_producer(settings.broker)
        opened.push_async_callback(stop_producer, producer)
        service = build(
            pool=pool,
            database_url=settings.database,
            publisher=KafkaPublisher(producer),
            client=client,
            addresses=Addresses(api=settings.zoho_api_url, accounts=settings.zoho_accounts_url),
            credentials=credentials,
            projects=projects,
            incarnation=incarnation,
            clock=SystemClock(),
            timeout_s=settings.crm_timeout_s,
        )
        consumer = new_consumer(settings.broker, group=GROUP)
        opened.push_async_callback(consumer.stop)
        subscription = KafkaSubscription(consumer, topics=[BILLING], positions=service.positions)
        await service.refreshing.meet(incarnation)
        await consumer.start()
        _log.info("crm.ready", incarnation=incarnation, projects=sorted(projects))
        await service.run(subscription, stop)


def _credentials(projects: Mapping[str, Project]) -> dict[str, Credentials]:
    found = {}
    for name, project in projects.items():
        credentials = credentials_of(project, os.environ)
        if credentials is not None:
            found[name] = credentials
        elif project.crm is not None:
            hint = f"set {', '.join(variables_of(project.crm))}; until then its orders wait"
            _log.warning("crm.no_credentials", project=name, hint=hint)
    return found


def with_crm(projects: Mapping[str, Project]) -> dict[str, Project]:
    """The projects that have another system beside this one."""
    return {name: project for name, project in projects.items() if project.crm is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmService:
    """The parts of one worker. `positions` is for its subscription."""

    positions: PostgresPositions
    intake: Intake
    refreshing: Refreshing
    pushing: Pushing
    relay: OutboxRelay
    board: BreakerBoard
    breaker: Breaker
    pool: Pool
    database_url: str

    async def run(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: the call in hand is answered, what was decided is published.

        Raises what ended it otherwise, in an ExceptionGroup; nothing is lost, the tables tell the next process.
        """
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(watch_lag(subscription, service=SERVICE)),
                group.create_task(self.board.run([self.breaker])),
            ]
            relay = group.create_task(self.relay.run(self.database_url))
            refreshing = group.create_task(self.refreshing.run(stop))
            pushing = group.create_task(self.pushing.run(stop))
            intake = group.create_task(consume(subscription, self.intake, self.pool))
            await stop.wait()
            self.pushing.wake()
            await subscription.close()
            await intake
            _, late = await asyncio.wait([refreshing, pushing], timeout=DRAIN_TIMEOUT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
            self.relay.close()
            await relay
            for task in watching:
                task.cancel()


def build(
    *,
    pool: Pool,
    database_url: str,
    publisher: Publisher,
    client: httpx.AsyncClient,
    addresses: Addresses,
    credentials: Mapping[str, Credentials],
    projects: Mapping[str, Project],
    incarnation: str,
    clock: Clock,
    timeout_s: float = 10.0,
) -> CrmService:
    """Put one worker together. The pool needs room for six connections; the schema must be migrated."""
    board = BreakerBoard(pool=pool, clock=clock)
    breaker = new_breaker("zoho", changed=board.changed)
    accounts = {
        name: Zoho(client, addresses=addresses, credentials=each, breaker=breaker, timeout_s=timeout_s)
        for name, each in credentials.items()
    }
    relay = OutboxRelay(partial(publish_step, publisher, clock), name=RELAY_NAME)
    pushing = Pushing(pool=pool, accounts=accounts, clock=clock, committed=relay.wake)
    positions = PostgresPositions(pool, schema=SCHEMA, incarnation=incarnation)
    return CrmService(
        positions=positions,
        intake=Intake(
            positions=positions,
            projects=projects.keys(),
            incarnation=incarnation,
            publisher=publisher,
            clock=clock,
            committed=pushing.wake,
        ),
        refreshing=Refreshing(pool=pool, projects=projects, accounts=accounts, clock=clock, committed=relay.wake),
        pushing=pushing,
        relay=relay,
        board=board,
        breaker=breaker,
        pool=pool,
        database_url=database_url,
    )
