"""syncOrders: hands each order's changes to its project's CRM, one after another, until the CRM took or refused them.

What the CRM said is told by an event, in the transaction that ends the change. While it is away changes wait, in order,
and are tried again; a change whose try was cut off is looked for in the CRM before it is written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import BreakerOpen, OutsideUnavailable
from chatledger.events.base import Event
from chatledger.events.codec import decode_data
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inventory import OrderNotSynced, OrderSynced
from chatledger.events.orders import OrderCreated
from chatledger.metrics import ORDERS_SYNCED
from chatledger.ports import Clock
from chatledger_crm import outbox
from chatledger_crm.handlers import Push
from chatledger_crm.refreshing import pause_s
from chatledger_crm.sql import query
from chatledger_crm.zoho import Busy, Zoho
from chatledger_crm.zoho_records import Refused

LOOK_EVERY_S = 1.0
"""How late a try is at most; what the intake takes in wakes it."""
CLAIM = timedelta(minutes=5)
"""Longer than any one change takes: three calls, a token twice, at the longest time-out that is sensible."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedPush:
    """A change that is this process's to make. `attempts` counts this one; `reference` is the order's in the CRM."""

    push: Push
    attempts: int
    created: OrderCreated | None
    reference: str | None


class Pushing:
    """Works off the table. `accounts` has the projects whose CRM can be told."""

    def __init__(
        self, *, pool: Pool, accounts: Mapping[str, Zoho], clock: Clock, committed: Callable[[], None]
    ) -> None:
        self._pool, self._accounts, self._clock, self._committed = pool, accounts, clock, committed
        self._awake = asyncio.Event()
        self._resume_at: datetime | None = None

    def wake(self) -> None:
        """Say that there is something to push."""
        self._awake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Push what is due, until `stop` is set and `wake` was called. Raises psycopg.Error: end the process."""
        while not stop.is_set():
            while not stop.is_set() and await self.step():
                pass
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._awake.wait()
            except TimeoutError:
                continue
            self._awake.clear()

    async def step(self) -> bool:
        """Make one change that is due; return False where none is, or where the CRM is not to be asked now."""
        if self._resume_at is not None and self._clock.now() < self._resume_at:
            return False
        claimed = await self._claim()
        if claimed is None:
            return False
        try:
            reference = await self._push(claimed)
        except Refused as wrong:
            await self._finish(claimed, OrderNotSynced(order_id=claimed.push.order_id, reason=str(wrong)))
            return True
        except OutsideUnavailable as wrong:
            await self._postpone(claimed, wrong)
            return True
        event = OrderSynced(order_id=claimed.push.order_id, reference=reference, status=claimed.push.status)
        await self._finish(claimed, event)
        return True

    async def _push(self, claimed: ClaimedPush) -> str:
        created, push = claimed.created, claimed.push
        if created is None:
            raise Refused("the order's beginning is not known here")
        zoho = self._accounts[push.project]
        if claimed.reference is not None:
            return await zoho.move_order(created.order_number, push.status, reference=claimed.reference)
        skus = [line.sku for line in created.lines if line.sku is not None]
        async with self._pool.connection() as connection:
            rows = await connection.execute(query("references_of"), (push.project, skus))
            products: dict[str, str] = dict(await rows.fetchall())
        return await zoho.create_order(created, push.status, products=products, may_be_there=claimed.attempts > 1)

    async def _claim(self) -> ClaimedPush | None:
        now = self._clock.now()
        claim = {"now": now, "until": now + CLAIM, "projects": sorted(self._accounts)}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query("claim_push"), claim)).fetchone()
        return None if row is None else _claimed(row)

    async def _postpone(self, claimed: ClaimedPush, wrong: OutsideUnavailable) -> None:
        pause = pause_s(wrong, claimed.attempts - 1)
        _log.warning(
            "order.push_postponed",
            order=claimed.push.order_id,
            correlation_id=claimed.push.correlation_id,
            reason=str(wrong),
            again_in_s=round(pause, 1),
        )
        at = self._clock.now() + timedelta(seconds=pause)
        not_made = int(isinstance(wrong, BreakerOpen))
        if isinstance(wrong, BreakerOpen | Busy):
            self._resume_at = at  # it holds for every order
        async with self._pool.connection() as connection:
            await connection.execute(query("postpone_push"), {"id": claimed.push.id, "at": at, "not_made": not_made})

    async def _finish(self, claimed: ClaimedPush, event: OrderSynced | OrderNotSynced) -> None:
        """End a change and tell how, once: who comes second finds that it is over."""
        push, now = claimed.push, self._clock.now()
        async with self._pool.connection() as connection, connection.transaction():
            if not await (await connection.execute(query("finish_push"), (now, push.id))).fetchone():
                return
            if isinstance(event, OrderSynced) and event.reference != claimed.reference:
                await connection.execute(query("remember_reference"), (event.reference, push.order_id))
            await outbox.append(connection, [await self._envelope(connection, push, event)])
        self._committed()
        ORDERS_SYNCED.labels("synced" if isinstance(event, OrderSynced) else "refused").inc()
        _log.info("order.pushed", order=push.order_id, outcome=event.type, correlation_id=push.correlation_id)

    async def _envelope(self, connection: Connection, push: Push, event: Event) -> Envelope:
        stream = f"crm-order-{push.order_id}"
        return Envelope(
            id=derive_id(push.id, stream),
            source=outbox.SOURCE,
            conversation=f"{push.project}/crm/{push.order_id}",
            time=self._clock.now(),
            stream=stream,
            stream_version=await outbox.last_version(connection, stream) + 1,
            correlation_id=push.correlation_id,
            causation_id=push.id,
            traceparent=push.traceparent,
            data=event,
        )


def _claimed(row: tuple[Any, ...]) -> ClaimedPush:
    created = None if row[7] is None else decode_data(OrderCreated.type, row[8], row[7].encode())
    return ClaimedPush(
        push=Push(id=row[0], order_id=row[1], project=row[2], status=row[3], correlation_id=row[4], traceparent=row[5]),
        attempts=row[6],
        created=created if isinstance(created, OrderCreated) else None,
        reference=row[9],
    )
