"""The consumer's loop: what arrives on chat.dialog is gathered for a moment, then handled as one batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from chatledger import metrics
from chatledger.ports import ConsumedRecord, Subscription
from chatledger_billing.handlers import Biller
from chatledger_billing.settings import SERVICE

BATCH_INTERVAL_S = 0.05
"""The least time between two batches: nobody waits for an invoice, and a transaction costs as much as ten orders."""
BATCH_RECORDS_MAX = 2_000
"""Bounds a transaction, and what lies in memory meanwhile."""
POSITIONS_INTERVAL_S = 0.5
"""How often the position is saved while no order comes. What is read twice then is without effect."""

Arrivals = asyncio.Queue[Sequence[ConsumedRecord] | None]
"""What was read and not yet handled; None after the last."""


async def consume(subscription: Subscription, biller: Biller) -> None:
    """Handle what arrives until the subscription is closed. Raises whatever ends the process."""
    arrivals: Arrivals = asyncio.Queue(maxsize=64)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(subscription, arrivals))
        keeper = tasks.create_task(_keep_positions(subscription, biller))
        await _handle(arrivals, biller)
        keeper.cancel()
    await biller.save_positions()


async def _read(subscription: Subscription, arrivals: Arrivals) -> None:
    async for records in subscription.batches():
        await arrivals.put(records)
    await arrivals.put(None)


async def _handle(arrivals: Arrivals, biller: Biller) -> None:
    arrived = await arrivals.get()
    while arrived is not None:
        started_at = time.monotonic()
        batch = list(arrived)
        arrived = ()
        while arrived is not None and not arrivals.empty() and len(batch) < BATCH_RECORDS_MAX:
            arrived = arrivals.get_nowait()
            batch.extend(arrived or ())
        await biller.handle(batch)
        if arrived is not None:
            await asyncio.sleep(max(0.0, started_at + BATCH_INTERVAL_S - time.monotonic()))
            arrived = await arrivals.get()


async def _keep_positions(subscription: Subscription, biller: Biller) -> None:
    while True:
        await asyncio.sleep(POSITIONS_INTERVAL_S)
        await biller.save_positions()
        for partition, records in (await subscription.lag()).items():
            metrics.LAG.labels(SERVICE, partition.topic, str(partition.partition)).set(records)
