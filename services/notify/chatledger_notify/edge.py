"""The consumer loop, and the gauge of what is left to consume."""

from __future__ import annotations

import asyncio

from chatledger.adapters.postgres import Pool
from chatledger.metrics import LAG
from chatledger.ports import Subscription
from chatledger_notify.handlers import SERVICE
from chatledger_notify.intake import Intake

BATCH_EVERY_S = 0.008
"""The shortest time from one batch to the next: under load it makes one transaction of many records."""
LAG_EVERY_S = 1.0


async def consume(subscription: Subscription, intake: Intake, pool: Pool) -> None:
    """Hand every batch on, until the subscription is closed. Raises what the intake raises."""
    now = asyncio.get_running_loop().time
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            next_at = now() + BATCH_EVERY_S
            await intake.handle(connection, batch)
            await asyncio.sleep(max(0.0, next_at - now()))
        await connection.set_autocommit(False)


async def watch_lag(subscription: Subscription) -> None:
    """Keep the lag gauge up to date, until cancelled."""
    while True:
        for at, records in (await subscription.lag()).items():
            LAG.labels(SERVICE, at.topic, str(at.partition)).set(records)
        await asyncio.sleep(LAG_EVERY_S)
