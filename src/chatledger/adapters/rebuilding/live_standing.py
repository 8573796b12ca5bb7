"""How far a live read model has come, as its writers say, and whether the ledger has all of that.

A rebuilt read model must hold exactly what the live one has handled: what it has not, its writer will hand it after the
switch. A consumer of topics tells it by its positions; what a service decided by itself it has handled with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from psycopg import sql

from chatledger.adapters.postgres import Connection
from chatledger.adapters.sql_files import named_statements
from chatledger.ports import LedgerEvent

_QUERIES = named_statements("chatledger.adapters.rebuilding", "live_standing.sql")


class LiveStanding(Protocol):
    """How far one writer of a live read model has come; asked over and over, at last while the writer is locked out."""

    def concerns(self, event: LedgerEvent) -> bool:
        """Whether this is the writer that hands `event` to the read model."""
        ...

    async def mark(self, connection: Connection) -> None:
        """Note where the writer is, once, at the beginning, while it is locked out."""
        ...

    async def look(self, connection: Connection) -> None:
        """Note how far the writer has come by now."""
        ...

    async def handled(self, connection: Connection, events: Sequence[LedgerEvent]) -> list[bool]:
        """Whether the live read model has handled each of `events`, as of the last look."""
        ...

    async def lacking(self, connection: Connection) -> str | None:
        """What the ledger lacks of what the live read model has, as of the last look, in words; None: nothing."""
        ...


class ConsumerStanding:
    """A consumer of topics, which keeps its positions in `<schema>.positions`."""

    def __init__(self, schema: str, topics: Sequence[str]) -> None:
        self._schema, self._topics = schema, list(topics)
        self._queries = {
            name: _filled(name, positions=f"{schema}.positions") for name in ("standing", "seen", "behind")
        }
        self._standing: dict[tuple[str, int], tuple[int, int]] = {}
        self._seen: list[tuple[str, str, int, int]] = []

    def concerns(self, event: LedgerEvent) -> bool:
        """Whether it reads the event's topic."""
        return event.topic in self._topics

    async def mark(self, connection: Connection) -> None:
        """Nothing: positions tell all."""

    async def look(self, connection: Connection) -> None:
        """Read the positions, and since when the broker lives its present life."""
        rows = await connection.execute(self._queries["standing"], {"topics": self._topics})
        self._standing = {
            (topic, partition): (after_position, next_offset)
            for topic, partition, after_position, next_offset in await rows.fetchall()
        }
        self._seen = await (await connection.execute(self._queries["seen"], {"topics": self._topics})).fetchall()

    async def handled(self, connection: Connection, events: Sequence[LedgerEvent]) -> list[bool]:
        """What an earlier life of the broker had is over and done with; of this one, what lies below the position."""
        return [self._is_handled(event) for event in events]

    async def lacking(self, connection: Connection) -> str | None:
        """Name the partitions of which more was handled than recorded."""
        seen = {
            name: [each[place] for each in self._seen]
            for place, name in enumerate(("incarnations", "topics", "partitions", "offsets"))
        }
        rows = await (await connection.execute(self._queries["behind"], seen)).fetchall()
        partitions = ", ".join(f"{topic}/{partition} by {lacking:,}" for topic, partition, lacking in rows)
        return f"it is behind {self._schema} on {partitions}" if rows else None

    def _is_handled(self, event: LedgerEvent) -> bool:
        standing = self._standing.get((event.topic, event.partition))
        if standing is None:
            return True
        after_position, next_offset = standing
        return event.position <= after_position or event.source_offset < next_offset


class JournalStanding:
    """A service's own events, which are in its journal, the table `<schema>.events`, with the effect that they have."""

    def __init__(self, schema: str, topic: str, types: Sequence[str]) -> None:
        """Only events of these `types` count; the service publishes them on `topic`."""
        self._schema, self._topic, self._types = schema, topic, list(types)
        self._queries = {name: _filled(name, journal=f"{schema}.events") for name in ("journal_end", "not_recorded")}
        self._marked = self._newest = self._recorded = 0

    def concerns(self, event: LedgerEvent) -> bool:
        """Whether the service publishes such events."""
        return event.topic == self._topic

    async def mark(self, connection: Connection) -> None:
        """Note the end of the journal: while writers are locked out, nobody is about to fill a gap before it."""
        self._marked = await self._end(connection)

    async def look(self, connection: Connection) -> None:
        """Note the end of the journal by now."""
        self._newest = await self._end(connection)

    async def handled(self, connection: Connection, events: Sequence[LedgerEvent]) -> list[bool]:
        """All were, before they were published."""
        return [True] * len(events)

    async def lacking(self, connection: Connection) -> str | None:
        """Count what was not recorded yet. What was before the mark is looked through once."""
        lacking = 0
        if self._recorded < self._marked:
            lacking = await self._count(connection, self._recorded, self._marked)
            self._recorded = self._recorded if lacking else self._marked
        lacking = lacking or await self._count(connection, self._marked, self._newest)
        return f"it lacks {lacking:,} events that {self._schema} decided" if lacking else None

    async def _count(self, connection: Connection, after: int, until: int) -> int:
        bounds = {"after": after, "until": until, "types": self._types}
        return await _number(connection, self._queries["not_recorded"], bounds)

    async def _end(self, connection: Connection) -> int:
        return await _number(connection, self._queries["journal_end"], {})


def _filled(query: str, **tables: str) -> sql.Composed:
    names = {name: sql.Identifier(*table.split(".")) for name, table in tables.items()}
    return sql.SQL(cast("Any", _QUERIES[query].decode())).format(**names)


async def _number(connection: Connection, query: sql.Composed, parameters: dict[str, object]) -> int:
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return int(row[0])
