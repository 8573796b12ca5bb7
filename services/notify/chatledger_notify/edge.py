"""The consumer loops, one for each topic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from chatledger.adapters.postgres import Connection, Pool
from chatledger.ports import ConsumedRecord, Subscription

BATCH_EVERY_S = 0.008
"""The shortest time from one batch to the next: under load it makes one transaction of many records."""
LISTEN_EVERY_S = 0.25
"""The same for what may come some moments later, while there is no more to read."""


class BatchHandler(Protocol):
    """What is done with batches."""

    async def handle(self, connection: Connection, batch: Sequence[ConsumedRecord]) -> None:
        """Commit a batch."""
        ...


async def consume(subscription: Subscription, intake: BatchHandler, pool: Pool) -> None:
    """Hand every batch on, until the subscription is closed. Raises what the intake raises."""
    now = asyncio.get_running_loop().time
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            next_at = now() + BATCH_EVERY_S
            await intake.handle(connection, batch)
            await asyncio.sleep(max(0.0, next_at - now()))
        await connection.set_autocommit(False)


async def listen(subscription: Subscription, intake: BatchHandler, pool: Pool) -> None:
    """The same without haste: few and large batches, as long as it keeps up."""
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        async for batch in subscription.batches():
            await intake.handle(connection, batch)
            # The batch in hand still counts as not yet read.
            if sum((await subscription.lag()).values()) <= len(batch):
                await asyncio.sleep(LISTEN_EVERY_S)
        await connection.set_autocommit(False)
