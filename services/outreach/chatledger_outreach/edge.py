"""The consumer loop."""

from __future__ import annotations

import asyncio

from chatledger.adapters.postgres import Pool
from chatledger.ports import Subscription
from chatledger_outreach.intake import Intake

BATCH_EVERY_S = 0.02
"""The shortest time from one batch to the next: nobody waits for a reminder, and a transaction has its price."""
POSITIONS_EVERY_S = 0.5
"""How often positions are saved while nothing of interest comes. What is read twice then is without effect."""


async def consume(subscription: Subscription, intake: Intake, pool: Pool) -> None:
    """Hand every batch on, until the subscription is closed. Raises what the intake raises."""
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(_keep_positions(intake, pool))
        await _hand_on(subscription, intake, pool)
        keeper.cancel()
    async with pool.connection() as connection:
        await intake.save_positions(connection)


async def _hand_on(subscription: Subscription, intake: Intake, pool: Pool) -> None:
    now = asyncio.get_running_loop().time
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            next_at = now() + BATCH_EVERY_S
            await intake.handle(connection, batch)
            await asyncio.sleep(max(0.0, next_at - now()))
        await connection.set_autocommit(False)


async def _keep_positions(intake: Intake, pool: Pool) -> None:
    while True:
        await asyncio.sleep(POSITIONS_EVERY_S)
        if intake.has_passed:
            async with pool.connection() as connection:
                await intake.save_positions(connection)
