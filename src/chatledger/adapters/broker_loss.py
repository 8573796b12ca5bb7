"""What each service says and does when a broker is replaced: how far it had come, and what it has to publish again.

Positions stand in the tables `<schema>.positions`, outboxes in `<schema>.events` with a `published_at`. A service that
keeps them otherwise has a module of its own that answers the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from psycopg import sql

from chatledger.adapters.postgres import Connection
from chatledger.adapters.sql_files import named_statements
from chatledger.ports import LedgerEvent, Positions, TopicPartition

ROWS_AT_ONCE = 5_000
"""An outbox is looked through in pieces of so many rows, the newest first."""

Lives = Mapping[str, Positions]
"""The next offsets of a service, by incarnation of the broker."""

_QUERIES = named_statements("chatledger.adapters", "broker_loss.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededEvent:
    """An event that something here came of. `event_type` is None where that is not known here."""

    event_id: str
    event_type: str | None
    conversation: str


@dataclass(slots=True, kw_only=True)
class Mended:
    """What a service will publish: `again` of it was published before, and did not reach the ledger.

    `coming` are the ids of all that; `needed` are the events that it came of.
    """

    again: int = 0
    coming: set[str] = field(default_factory=set)
    needed: list[NeededEvent] = field(default_factory=list)


class History(Protocol):
    """What the ledger says to a service that looks for what the ledger lacks of it."""

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """Return those of these event ids that are not recorded."""
        ...

    async def newest_of(self, streams: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return the version and the type of the last event of each stream that has any with a version."""
        ...

    async def reports_of(self, delivery_ids: Sequence[str], provider_ids: Sequence[str]) -> list[LedgerEvent]:
        """Return the `delivery.reported` of these messages, in the order of positions."""
        ...

    async def pending_timers(self) -> list[LedgerEvent]:
        """Return the last `timer.requested` of each conversation and kind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAtLoss:
    """A service when its broker was replaced. Its schema has its name; `lock` is one that a running process holds.

    What is done on a connection belongs to the caller's transaction, but for the lock, which ends with the connection.
    """

    name: str
    topics: tuple[str, ...]
    """Those that it keeps positions of."""
    lock: str | None = None

    async def is_there(self, connection: Connection) -> bool:
        """Whether it has its tables in this database."""
        row = await (await connection.execute(_QUERIES["is_there"], (f"{self.name}.positions",))).fetchone()
        return bool(row and row[0])

    async def is_alone(self, connection: Connection) -> bool:
        """Take its lock; False where a process of the service has it."""
        return self.lock is None or await lock_is_free(connection, self.lock)

    async def read_lives(self, connection: Connection) -> Lives:
        """Return all its positions."""
        query = sql.SQL("SELECT incarnation, topic, partition, next_offset FROM {}")
        rows = await connection.execute(query.format(sql.Identifier(self.name, "positions")))
        lives: dict[str, dict[TopicPartition, int]] = {}
        for incarnation, topic, partition, next_offset in await rows.fetchall():
            lives.setdefault(incarnation, {})[TopicPartition(topic, partition)] = next_offset
        return lives

    async def begin_life(self, connection: Connection, incarnation: str, positions: Positions) -> None:
        """Set its positions in a new life of the broker; one that is further on stays."""
        query = sql.SQL(
            "INSERT INTO {} AS known (incarnation, topic, partition, next_offset)"
            " SELECT %s, topic, partition, next_offset"
            " FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS new (topic, partition, next_offset)"
            " ON CONFLICT (incarnation, topic, partition) DO UPDATE"
            " SET next_offset = greatest(known.next_offset, excluded.next_offset)"
        ).format(sql.Identifier(self.name, "positions"))
        at = sorted(positions)
        columns = [each.topic for each in at], [each.partition for each in at], [positions[each] for each in at]
        await connection.execute(query, (incarnation, *columns))

    async def mend(self, connection: Connection, history: History) -> Mended:
        """See to it that what the ledger lacks of it is published again."""
        return Mended()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxAtLoss(ServiceAtLoss):
    """A service whose outbox is the table `<name>.events`, with a column `published_at`."""

    async def mend(self, connection: Connection, history: History) -> Mended:
        """Unmark what is called published and is not in the ledger, so that the relay publishes it again."""
        table, mended, before = sql.Identifier(self.name, "events"), Mended(), None
        page = sql.SQL(
            "SELECT position, id, causation_id, key, published_at FROM {}"
            " WHERE %s::bigint IS NULL OR position < %s ORDER BY position DESC LIMIT %s"
        ).format(table)
        unmark = sql.SQL("UPDATE {} SET published_at = NULL WHERE id = ANY(%s)").format(table)
        while rows := await (await connection.execute(page, (before, before, ROWS_AT_ONCE))).fetchall():
            before = rows[-1][0]
            missing = await history.missing([row[1] for row in rows])
            lost = [row[1] for row in rows if row[1] in missing and row[4] is not None]
            if lost:
                await connection.execute(unmark, (lost,))
            mended.again += len(lost)
            mended.coming |= missing
            mended.needed += [
                NeededEvent(event_id=row[2], event_type=None, conversation=row[3])
                for row in rows
                if row[1] in missing and row[2] is not None
            ]
        return mended


async def lock_is_free(connection: Connection, name: str, number: int | None = None) -> bool:
    """Take an advisory lock of the session; False where somebody else has it."""
    arguments: tuple[str | int, ...] = (name,) if number is None else (name, number)
    query = _QUERIES["take_lock" if number is None else "take_numbered_lock"]
    row = await (await connection.execute(query, arguments)).fetchone()
    return bool(row and row[0])
