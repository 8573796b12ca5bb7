"""The composition root: every part of the service, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import structlog
from aiokafka import AIOKafkaConsumer

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
from chatledger.channels import CHANNELS
from chatledger.ports import Clock, Publisher, Subscription
from chatledger.project_files import load_projects
from chatledger.topics import DIALOG, INBOUND
from chatledger_notify.attempts import Attempts, Templates
from chatledger_notify.breaker_board import BreakerBoard
from chatledger_notify.edge import consume, listen
from chatledger_notify.failpoint import Failpoint
from chatledger_notify.handlers import SERVICE
from chatledger_notify.intake import Intake
from chatledger_notify.outbox import Outbox
from chatledger_notify.ownership import OwnedPositions, Ownership
from chatledger_notify.provider import Accounts, Provider
from chatledger_notify.report_folding import ReportFolding
from chatledger_notify.report_intake import ReportIntake
from chatledger_notify.report_store import ReportStore
from chatledger_notify.schedule import SendingLimits
from chatledger_notify.sender import Sender
from chatledger_notify.settings import NotifySettings, accounts_of, templates_of
from chatledger_notify.store import PACKAGE, SCHEMA, NotifyStore
from chatledger_notify.timers import TimerService
from chatledger_notify.transport import AiohttpTransport

GROUP, REPORT_GROUP = "chatledger-notify", "chatledger-notify-reports"
"""Who has a partition of chat.dialog sends to its clients; who has one of chat.inbound may be another worker."""
REPORT_BYTES_MIN, REPORT_WAIT_MS = 256 * 1024, 250
"""chat.inbound is read in large pieces, and at most so much later."""
CONNECTIONS_MAX = 9
"""One each for both intakes, their rebalances, the sender, the outbox, the timers, the reports, and one to spare."""

_log = structlog.get_logger()


async def run(settings: NotifySettings, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set, then drain. Raises ConfigurationError, or what ends the process."""
    projects = load_projects(settings.projects)
    accounts = accounts_of(projects, os.environ, public_base_url=settings.public_base_url)
    for project, channel in (account for account, ours in accounts.items() if ours is None):
        names = CHANNELS[channel].variables_for(projects[project].channels[channel])
        if CHANNELS[channel].always_signed and not os.environ.get(names.webhook_token):
            continue  # it takes no webhooks either: whoever uses another channel alone has nothing to set
        hint = f"set {names.api_token}: its messages are tried again, and fail after the last of the slow retries"
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
            outside=Outside(
                publisher=KafkaPublisher(producer),
                client=client,
                clock=SystemClock(),
                failpoint=settings.failpoint_or_none(),
            ),
            accounts=accounts,
            templates=templates_of(projects),
            incarnation=incarnation,
            limits=settings.sending_limits(),
        )
        consumer = new_consumer(settings.broker, group=GROUP)
        opened.push_async_callback(consumer.stop)
        subscription = KafkaSubscription(consumer, topics=[DIALOG], positions=service.positions)
        listener = new_report_consumer(settings.broker, group=REPORT_GROUP)
        opened.push_async_callback(listener.stop)
        reports = KafkaSubscription(listener, topics=[INBOUND], positions=service.report_positions)
        # Each waits for its group, which may have to notice first that the process before this one is dead.
        await asyncio.gather(consumer.start(), listener.start())
        _log.info("notify.ready", incarnation=incarnation)
        await service.run(subscription, reports, stop)


def new_report_consumer(bootstrap_servers: str, *, group: str) -> AIOKafkaConsumer:
    """Return a consumer for chat.inbound, not yet started, that waits for much to come or for some time to pass."""
    return new_consumer(
        bootstrap_servers, group=group, fetch_min_bytes=REPORT_BYTES_MIN, fetch_max_wait_ms=REPORT_WAIT_MS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyService:
    """The parts of one worker.

    `positions` is for its subscription to chat.dialog, which tells through it what was assigned; `report_positions` is
    for that to chat.inbound.
    """

    positions: OwnedPositions
    report_positions: PostgresPositions
    intake: Intake
    report_intake: ReportIntake
    sender: Sender
    outbox: Outbox
    timers: TimerService
    folding: ReportFolding
    board: BreakerBoard
    ownership: Ownership
    pool: Pool
    database_url: str

    async def run(self, subscription: Subscription, reports: Subscription, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: what is being sent is answered, recorded and published.

        Raises what ended it otherwise, in an ExceptionGroup; nothing is lost, the tables tell the next process.
        """
        async with asyncio.TaskGroup() as group:
            lags = [group.create_task(watch_lag(each, service=SERVICE)) for each in (subscription, reports)]
            ownership = group.create_task(self.ownership.run(self.database_url))
            outbox = group.create_task(self.outbox.run())
            sender = group.create_task(self.sender.run(self.outbox))
            timers = group.create_task(self.timers.run())
            folding = group.create_task(self.folding.run())
            board = group.create_task(self.board.run())
            intake = group.create_task(consume(subscription, self.intake, self.pool))
            listening = group.create_task(listen(reports, self.report_intake, self.pool))
            await stop.wait()
            # What is still taken in stays in the table for the next process.
            for part in (self.sender, self.timers, self.folding, self.board):
                part.stop()
            await subscription.close()
            await reports.close()
            await asyncio.gather(intake, listening, sender, timers, folding, board)
            self.outbox.stop()
            await outbox
            self.ownership.stop()
            await ownership
            for lag in lags:
                lag.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a worker has of the world outside. `monotonic` is the breakers' clock; chance is between -1 and 1."""

    publisher: Publisher
    client: httpx.AsyncClient
    clock: Clock
    jitter: Callable[[], float] = lambda: random.uniform(-1.0, 1.0)
    monotonic: Callable[[], float] = time.monotonic
    failpoint: Failpoint | None = None


def build(
    *,
    pool: Pool,
    database_url: str,
    outside: Outside,
    accounts: Accounts,
    templates: Templates,
    incarnation: str,
    limits: SendingLimits,
) -> NotifyService:
    """Put one worker together. The pool needs room for CONNECTIONS_MAX; the schema must be migrated."""
    store, reports = NotifyStore(pool), ReportStore(pool)
    board, provider, sender = _sending(pool, outside, accounts, templates, limits)
    outbox = Outbox(store=store, reports=reports, pool=pool, publisher=outside.publisher, sender=sender)
    timers = TimerService(
        store=store, publisher=outside.publisher, clock=outside.clock, owned=lambda: sorted(sender.queues.owned)
    )
    folding = ReportFolding(
        store=reports, pool=pool, sender=sender, outbox=outbox, clock=outside.clock, failpoint=outside.failpoint
    )

    async def acquired(partition: int) -> None:
        async with sender.gate():
            sender.queues.own(partition)
            await sender.take_from_table(partition)
        outbox.republish(await store.load_unpublished(partition))
        outbox.republish(await reports.load_rises(partition))
        timers.wake()
        folding.wake()

    ownership = Ownership(queues=sender.queues, folding=lambda: folding.busy, acquired=acquired)
    positions = PostgresPositions(pool, schema=SCHEMA, incarnation=incarnation)
    intake = Intake(
        store=store,
        positions=positions,
        incarnation=incarnation,
        publisher=outside.publisher,
        provider=provider,
        sender=sender,
        timers=timers,
        clock=outside.clock,
    )
    windowed = frozenset(name.encode() for _, name in accounts if CHANNELS[name].free_text_window is not None)
    return NotifyService(
        positions=OwnedPositions(positions, ownership),
        report_positions=positions,
        intake=intake,
        report_intake=ReportIntake(store=reports, positions=positions, windowed=windowed, folding=folding),
        sender=sender,
        outbox=outbox,
        timers=timers,
        folding=folding,
        board=board,
        ownership=ownership,
        pool=pool,
        database_url=database_url,
    )


def _sending(
    pool: Pool, outside: Outside, accounts: Accounts, templates: Templates, limits: SendingLimits
) -> tuple[BreakerBoard, Provider, Sender]:
    """The breakers, one for each account that has a token, and what sends through them."""
    store, clock = NotifyStore(pool), outside.clock
    board = BreakerBoard(pool=pool, clock=clock, worker=secrets.token_hex(8))
    for account in (account for account, ours in accounts.items() if ours is not None):
        board.add(account, limits, outside.monotonic)
    provider = Provider(outside.client, accounts, board.breakers, ambiguous_pause_s=limits.ambiguous_pause_s)
    attempts = Attempts(
        store=store,
        provider=provider,
        templates=templates,
        clock=clock,
        jitter=outside.jitter,
        schedule=limits.schedule,
        failpoint=outside.failpoint,
    )
    sender = Sender(
        store=store,
        attempts=attempts,
        breakers=board.breakers,
        clock=clock,
        monotonic=outside.monotonic,
        concurrency=limits.concurrency,
    )
    board.changed = sender.look_at_breakers
    return board, provider, sender
