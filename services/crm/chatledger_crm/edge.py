"""The consumer loop, and the gauge of what is left to consume."""

from __future__ import annotations

import asyncio

from chatledger.adapters.postgres import Pool
from chatledger.metrics import LAG
from chatledger.ports import Subscription
from chatledger_crm.intake import Intake
from chatledger_crm.settings import SERVICE

LAG_EVERY_S = 1.0


async def consume(subscription: Subscription, intake: Intake, pool: Pool) -> None:
    """Hand every batch on, until the subscription is closed. Raises what the intake raises."""
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            await intake.handle(connection, batch)
        await connection.set_autocommit(False)


async def watch_lag(subscription: Subscription) -> None:
    """Keep the lag gauge up to date, until cancelled."""
    while True:
        for at, records in (await subscription.lag()).items():
            LAG.labels(SERVICE, at.topic, str(at.partition)).set(records)
        await asyncio.sleep(LAG_EVERY_S)
