"""The composition root: every part of the service, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from chatledger.adapters.postgres import Pool, PostgresPositions
from chatledger.ports import Clock, Publisher, Subscription
from chatledger_notify.edge import consume, watch_lag
from chatledger_notify.failpoint import Failpoint
from chatledger_notify.intake import Intake
from chatledger_notify.outbox import Outbox
from chatledger_notify.ownership import OwnedPositions, Ownership
from chatledger_notify.provider import Accounts, Provider
from chatledger_notify.schedule import RetrySchedule
from chatledger_notify.sender import Sender
from chatledger_notify.store import SCHEMA, NotifyStore
from chatledger_notify.timers import TimerService


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
