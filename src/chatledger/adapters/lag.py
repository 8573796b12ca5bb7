"""The gauge of what a service has left to consume, the same for every service that reads by a subscription."""

from __future__ import annotations

import asyncio

from chatledger.metrics import LAG
from chatledger.ports import Subscription

LAG_EVERY_S = 1.0


async def watch_lag(subscription: Subscription, *, service: str) -> None:
    """Keep the lag gauge of `service` up to date, until cancelled."""
    while True:
        for at, records in (await subscription.lag()).items():
            LAG.labels(service, at.topic, str(at.partition)).set(records)
        await asyncio.sleep(LAG_EVERY_S)
