"""The consumer loop."""

from __future__ import annotations

from chatledger.adapters.postgres import Pool
from chatledger.ports import Subscription
from chatledger_crm.intake import Intake


async def consume(subscription: Subscription, intake: Intake, pool: Pool) -> None:
    """Hand every batch on, until the subscription is closed. Raises what the intake raises."""
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            await intake.handle(connection, batch)
        await connection.set_autocommit(False)
