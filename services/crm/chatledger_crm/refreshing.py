"""fetchInventory: asks each project's CRM for stock and prices when it is time, and notes what changed.

A CRM that is away changes nothing: the last copy counts, and its age is told. What a product was last said to be is
published again now and then, because a topic keeps records for a limited time, and for a broker that is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import BreakerOpen, OutsideUnavailable
from chatledger.metrics import INVENTORY_AGE
from chatledger.ports import Clock
from chatledger.projects import Project
from chatledger_crm import outbox
from chatledger_crm.inventory import Change, KnownCopy, ProductCopy, changes
from chatledger_crm.sql import query
from chatledger_crm.zoho import Busy, Zoho
from chatledger_crm.zoho_records import Refused, ZohoProduct

LOOK_EVERY_S = 1.0
"""How late a refresh is at most."""
SAY_AGAIN_AFTER = timedelta(hours=12)
"""Brokers keep records for days, unless they were told otherwise."""
PAUSE_FIRST_S, PAUSE_MAX_S = 30.0, 900.0
"""After a first failure, and after many."""
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

_log = structlog.get_logger()


class Refreshing:
    """Keeps the copies. `accounts` has the projects whose CRM can be asked."""

    def __init__(
        self,
        *,
        pool: Pool,
        projects: Mapping[str, Project],
        accounts: Mapping[str, Zoho],
        clock: Clock,
        committed: Callable[[], None],
    ) -> None:
        self._pool, self._accounts, self._clock, self._committed = pool, accounts, clock, committed
        self._projects = {name: project for name, project in projects.items() if name in accounts}

    async def meet(self, incarnation: str) -> None:
        """Before anything else: plan what is new, and tell a broker that is new what every product was last."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(query("plan_refreshes"), (self._clock.now(), sorted(self._projects)))
            is_new = await connection.execute(query("meet_incarnation"), (incarnation, self._clock.now()))
            if await is_new.fetchone():
                await connection.execute(query("say_again"), (_END_OF_TIME,))

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh what is due, until `stop` is set. Raises psycopg.Error: end the process."""
        while not stop.is_set():
            await self.step()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def step(self) -> None:
        """Refresh what is due now, say again what was said long ago, and tell the copies' ages."""
        names = sorted(self._projects)
        every = [timedelta(minutes=crm.refresh_minutes) for name in names if (crm := self._projects[name].crm)]
        async with self._pool.connection() as connection:
            claim = {"now": self._clock.now(), "projects": names, "every": every}
            due = await (await connection.execute(query("claim_refreshes"), claim)).fetchall()
            said_again = await connection.execute(query("say_again"), (self._clock.now() - SAY_AGAIN_AFTER,))
        if said_again.rowcount:
            self._committed()
        for name, failures in due:
            await self._refresh(self._projects[name], failures)
        await self._tell_ages()

    async def _refresh(self, project: Project, failures: int) -> None:
        assert project.store is not None, "a project with a CRM has a store"
        try:
            products = await self._accounts[project.name].products(project.store.currency)
        except (OutsideUnavailable, Refused) as wrong:
            pause = pause_s(wrong, failures)
            _log.warning("inventory.not_refreshed", project=project.name, reason=str(wrong), again_in_s=round(pause, 1))
            async with self._pool.connection() as connection:
                again_at = self._clock.now() + timedelta(seconds=pause)
                await connection.execute(query("postpone_refresh"), (again_at, project.name))
            return
        changed = await self._keep(project, products)
        _log.info("inventory.refreshed", project=project.name, products=len(products), changed=changed)

    async def _keep(self, project: Project, products: list[ZohoProduct]) -> int:
        """Note what changed, the events and the new copies in one transaction; return how many products did."""
        assert project.store is not None, "a project with a CRM has a store"
        now = self._clock.now()
        async with self._pool.connection() as connection, connection.transaction():
            known = await _known(connection, project.name)
            changed = changes(project.name, project.store, products, known, now)
            await outbox.append(connection, [each.event for each in changed])
            await save(connection, project.name, changed, now)
            await connection.execute(query("confirm_inventory"), (now, project.name))
            await connection.execute(query("confirm_refresh"), (now, project.name))
        if changed:
            self._committed()
        return len(changed)

    async def _tell_ages(self) -> None:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query("fetched_at"), (sorted(self._projects),))).fetchall()
        for project, fetched_at in rows:
            INVENTORY_AGE.labels(project).set((self._clock.now() - fetched_at).total_seconds())


def pause_s(wrong: Exception, failures: int) -> float:
    """How long to wait after a failure: as long as we were told, else twice as long each time."""
    told = wrong.retry_after_s if isinstance(wrong, Busy | BreakerOpen) else None
    return max(told, 1.0) if told is not None else min(PAUSE_FIRST_S * 2 ** min(failures, 10), PAUSE_MAX_S)


async def _known(connection: Connection, project: str) -> dict[str, KnownCopy]:
    rows = await (await connection.execute(query("read_inventory"), (project,))).fetchall()
    return {
        sku: KnownCopy(copy=ProductCopy(reference=reference, price_minor=price, stock=stock), version=version)
        for sku, reference, price, stock, version in rows
    }


async def save(connection: Connection, project: str, changed: list[Change], at: datetime) -> None:
    """Note the new copies of a project's products, within the caller's transaction."""
    columns = {
        "project": project,
        "at": at,
        "skus": [each.sku for each in changed],
        "references": [each.copy.reference for each in changed],
        "prices": [each.copy.price_minor for each in changed],
        "stocks": [each.copy.stock for each in changed],
        "events": [each.event.id for each in changed],
        "versions": [each.event.stream_version for each in changed],
    }
    await connection.execute(query("save_inventory"), columns)
