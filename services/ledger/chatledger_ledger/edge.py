"""The consumer loop: every batch of every topic goes to the ledger, until the process is asked to stop."""

from __future__ import annotations

import asyncio

from chatledger.ports import Ledger, Subscription
from chatledger_ledger.handlers import record, show_lag

LAG_EVERY_S = 1.0


async def consume(subscription: Subscription, ledger: Ledger, *, stop: asyncio.Event) -> None:
    """Record until `stop` is set; the batch in hand is recorded first. Any error ends it: nothing is skipped."""
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(_record_all(subscription, ledger))
        showing = tasks.create_task(_show_lag(subscription))
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait([recording, stopping], return_when=asyncio.FIRST_COMPLETED)
        await subscription.close()
        await recording
        showing.cancel()
        stopping.cancel()


async def _record_all(subscription: Subscription, ledger: Ledger) -> None:
    async for batch in subscription.batches():
        await record(batch, ledger)


async def _show_lag(subscription: Subscription) -> None:
    while True:
        show_lag(await subscription.lag())
        await asyncio.sleep(LAG_EVERY_S)
