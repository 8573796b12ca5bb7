"""The recorder put together: migrations, a pool with the recorder's rights, a consumer of every topic."""

from __future__ import annotations

import asyncio

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import KafkaSubscription, cluster_id, new_consumer
from chatledger.adapters.postgres import Pool, migrate, open_pool
from chatledger.ports import Clock
from chatledger_ledger.edge import consume
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from chatledger_ledger.settings import LedgerSettings

SCHEMA = "ledger"
PACKAGE = "chatledger_ledger"
GROUP = "chatledger-ledger"


def build(pool: Pool, *, incarnation: str, clock: Clock) -> PostgresLedger:
    """Return the ledger over a pool that runs as the recorder's role."""
    return PostgresLedger(pool, incarnation=incarnation, clock=clock)


async def run(settings: LedgerSettings, stop: asyncio.Event) -> None:
    """Record every topic until `stop` is set.

    Raises OutsideUnavailable when the broker or Postgres is away: whoever started the process starts it again.
    """
    await migrate(settings.database, schema=SCHEMA, package=PACKAGE)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    # One connection for the batch in hand, one for a rebalance beside it.
    pool = await open_pool(settings.database, connections_max=2, role=ROLE)
    try:
        ledger = build(pool, incarnation=incarnation, clock=SystemClock())
        consumer = new_consumer(settings.broker, group=GROUP)
        subscription = KafkaSubscription(consumer, topics=topics.ALL, positions=ledger.positions)
        try:
            await consumer.start()
            await consume(subscription, ledger, stop=stop)
        finally:
            await consumer.stop()
    finally:
        await pool.close()
