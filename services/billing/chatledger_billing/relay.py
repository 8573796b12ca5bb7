"""The relay: publishes the notification log on chat.billing, reports it, and lays it down in the read model.

Publish, then save the position: what was published but not saved is published again, with the same ids. The rows and
the positions are written on the connection that holds the relay's lock, so that a relay that lost it cannot write.
The library adds to the log under a table lock, so that here a position tells how far it was read. Reports have a
position of their own, which outlives the read model: laying that down again tells no client anything twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from chatledger import topics
from chatledger.adapters.postgres import Connection
from chatledger.adapters.relay import BATCH_EVENTS_MAX, OutboxRelay
from chatledger.ports import Publisher
from chatledger.projects import Project
from chatledger_billing.decisions import Decision, to_envelope
from chatledger_billing.projection import Changes, Row, project
from chatledger_billing.reports import Reporter
from chatledger_billing.snapshots import Followed, follow
from chatledger_billing.sql import query
from chatledger_billing.store import BillingStore
from chatledger_billing.worker import Worker

NAME = "chatledger billing relay"
"""Of the lock that the one relay of this service holds."""


class ReadModelWriter:
    """Writes the read model and the relay's position, on one connection that holds the relay's lock."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is in autocommit mode."""
        self._connection = connection

    async def position(self) -> int:
        """Return how far the log was published."""
        return await self._value("read_relay_position") or 0

    async def reported(self) -> int:
        """Return how far the log was reported to conversations."""
        return await self._value("read_reports_position") or 0

    async def save(self, changes: Changes, position: int) -> None:
        """Write the rows and the positions in one transaction."""
        async with self._connection.pipeline(), self._connection.transaction():
            await lay_down(self._connection, changes)
            await self._connection.execute(query("save_relay_position"), (position,))
            await self._connection.execute(query("save_reports_position"), (position,))

    async def _value(self, name: str) -> Any:
        row = await (await self._connection.execute(query(name))).fetchone()
        return row[0] if row else None


async def lay_down(connection: Connection, changes: Changes) -> None:
    """Write rows, within the caller's transaction."""
    for name, rows in (("save_orders", changes.orders), ("save_invoices", changes.invoices)):
        if rows:
            await connection.execute(query(name), (_jsonb(list(rows.values())),))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The next piece of the log, and the place of its last entry."""

    reached: int
    followed: list[Followed]


class Relay:
    """Follows the notification log from where the last relay stopped."""

    def __init__(
        self, *, store: BillingStore, worker: Worker, publisher: Publisher, projects: Mapping[str, Project]
    ) -> None:
        self._store, self._worker, self._publisher = store, worker, publisher
        self._reporter = Reporter(projects)
        self._outbox = OutboxRelay(self._advance, name=NAME)

    def wake(self) -> None:
        """Say that something was recorded."""
        self._outbox.wake()

    def close(self) -> None:
        """End `run` once everything that was recorded by now is published, or the broker is away."""
        self._outbox.close()

    async def run(self, url: str) -> None:
        """Relay until closed; while the broker is away, wait for it.

        Raises OutsideUnavailable when Postgres goes away, ProducerBroken when the publisher does: end the process.
        """
        await self._outbox.run(url)

    async def _advance(self, connection: Connection) -> int:
        writer = ReadModelWriter(connection)
        position = await writer.position()
        return await self.step(writer, position) - position

    async def step(self, writer: ReadModelWriter, position: int) -> int:
        """Publish what follows `position`, wait for the acknowledgements, save. Return the new position."""
        step = await self._worker.run(self._next, position)
        if step is None:
            return position
        await self._publisher.publish(topics.BILLING, [to_envelope(each.decision) for each in step.followed])
        if self._reporter.has_listeners:
            reported = await writer.reported()
            reports = self._reporter.reports(each for each in step.followed if each.place > reported)
            if reports:
                await self._publisher.publish(topics.INBOUND, reports)
        await writer.save(project(step.followed), step.reached)
        return step.reached

    def _next(self, position: int) -> _Step | None:
        log = self._store.follow(position, BATCH_EVENTS_MAX)
        if not log:
            return None
        return _Step(reached=log[-1][0], followed=list(follow(log, self._stream)))

    def _stream(self, name: str, until: int) -> list[Decision]:
        return self._store.stream(name, until=until)


def _jsonb(rows: list[Row]) -> Jsonb:
    return Jsonb(rows, dumps=orjson.dumps)
