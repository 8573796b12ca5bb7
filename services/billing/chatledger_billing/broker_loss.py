"""This service when its broker was replaced: positions in the event store's tracking table, a relay that goes back.

What the relay published stands in the notification log in one order, so it goes back to before the first event that the
ledger lacks. What is published a second time for that has the same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from chatledger.adapters.broker_loss import ROWS_AT_ONCE, History, Lives, Mended, NeededEvent, ServiceAtLoss
from chatledger.adapters.postgres import Connection
from chatledger.events.ids import derive_id
from chatledger.ports import Positions, TopicPartition
from chatledger.projects import Project
from chatledger.topics import DIALOG
from chatledger_billing.numbering import NumbersGiven
from chatledger_billing.relay import NAME as RELAY_NAME
from chatledger_billing.reports import Reporter
from chatledger_billing.settings import SERVICE
from chatledger_billing.snapshots import follow
from chatledger_billing.sql import query
from chatledger_billing.store import BillingStore, postgres_store

LOG_AT_ONCE = 500
REPORTED_PAGES = 20
"""Reports are looked for back from the newest: so many pieces of the log without one that lacks are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingAtLoss(ServiceAtLoss):
    """The event store at `database`, and the projects whose conversations are told."""

    database: str
    projects: Mapping[str, Project]

    async def is_there(self, connection: Connection) -> bool:
        """Whether the event store has its tables in this database."""
        row = await (await connection.execute(query("is_there"))).fetchone()
        return bool(row and row[0])

    async def read_lives(self, connection: Connection) -> Lives:
        """Return all positions of the tracking table."""
        lives: dict[str, dict[TopicPartition, int]] = {}
        for name, next_offset in await (await connection.execute(query("read_lives"))).fetchall():
            incarnation, topic, partition = name.rsplit(":", 2)
            lives.setdefault(incarnation, {})[TopicPartition(topic, int(partition))] = next_offset
        return lives

    async def begin_life(self, connection: Connection, incarnation: str, positions: Positions) -> None:
        """Set its positions in a new life of the broker; one that is further on stays."""
        # The tracking table counts from 1: a partition that is to be read from its beginning has no row.
        begun = {at: offset for at, offset in positions.items() if offset > 0}
        names = [f"{incarnation}:{at.topic}:{at.partition}" for at in begun]
        await connection.execute(query("begin_life"), (names, list(begun.values())))

    async def mend(self, connection: Connection, history: History) -> Mended:
        """Take the relay back to before the first event, or report, that the ledger lacks."""
        relayed, reported = await _position(connection, "read_relay_position"), None
        mended, first = await _look_through(connection, history, relayed)
        reporter = Reporter(self.projects)
        if reporter.has_listeners and relayed:
            reported = await self._first_unreported(reporter, history, relayed)
        if first is not None or reported is not None:
            back = min(each for each in (first, reported) if each is not None) - 1
            await connection.execute(query("save_relay_position"), (back,))
        if reported is not None:
            await connection.execute(query("take_reports_back"), (reported - 1,))
        return mended

    async def _first_unreported(self, reporter: Reporter, history: History, relayed: int) -> int | None:
        store = await asyncio.to_thread(postgres_store, self.database)
        first, clean_pages, before = None, 0, relayed
        try:
            while before > 0 and clean_pages < REPORTED_PAGES:
                after = max(0, before - LOG_AT_ONCE)
                reports = await asyncio.to_thread(_reports, store, reporter, after, before)
                missing = await history.missing([event_id for _, event_id in reports])
                places = [place for place, event_id in reports if event_id in missing]
                first, clean_pages = (min(places), 0) if places else (first, clean_pages + 1)
                before = after
        finally:
            store.close()
        return first


async def _look_through(connection: Connection, history: History, relayed: int) -> tuple[Mended, int | None]:
    """Return what the ledger lacks of the log, and the place of the first of it that was published."""
    mended, first = Mended(), None
    page: dict[str, object] = {"before": None, "unpublished": NumbersGiven.type, "limit": ROWS_AT_ONCE}
    while rows := await (await connection.execute(query("read_log_back"), page)).fetchall():
        page["before"] = rows[-1][0]
        ids = {derive_id(stream, version): (place, state) for place, stream, version, state in rows}
        for event_id in await history.missing(list(ids)):
            place, state = ids[event_id]
            cause = orjson.loads(state)
            mended.coming |= {event_id, derive_id(event_id, "reported")}
            mended.needed.append(
                NeededEvent(event_id=cause["causation_id"], event_type=None, conversation=cause["conversation"])
            )
            if place <= relayed:
                mended.again += 1
                first = place if first is None else min(first, place)
    return mended, first


def _reports(store: BillingStore, reporter: Reporter, after: int, until: int) -> list[tuple[int, str]]:
    """What conversations were told of a piece of the log: its place, and the report's id."""
    log = [each for each in store.follow(after, until - after) if each[0] <= until]
    followed = follow(log, lambda name, version: store.stream(name, until=version))
    return [(each.place, report.id) for each in followed for report in reporter.reports([each])]


async def _position(connection: Connection, name: str) -> int:
    row = await (await connection.execute(query(name))).fetchone()
    return int(row[0]) if row else 0


def at_loss(database: str, projects: Mapping[str, Project]) -> BillingAtLoss:
    """Return the service as it is at this database."""
    return BillingAtLoss(name=SERVICE, topics=(DIALOG,), lock=RELAY_NAME, database=database, projects=projects)
