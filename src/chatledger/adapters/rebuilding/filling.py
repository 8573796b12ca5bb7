"""Folds history into the built tables, in rounds: what the live read model has handled, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.declared import Making, Rebuildable
from chatledger.adapters.rebuilding.shadow_tables import ShadowConnection
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import ConfigurationError, InvariantViolated, OutsideUnavailable
from chatledger.events.codec import type_and_version
from chatledger.ports import LedgerEvent, Selection

BATCH_EVENTS = 1_000
HELD_EVENTS_MAX = 200_000
"""Events that the live read model has not handled yet wait in memory: about 400 MB of them."""
ROUNDS_MAX = 20
SMALL_ROUND_EVENTS = 200
"""What is left may be so much that it is added within some ten milliseconds."""

_QUERIES = named_statements("chatledger.adapters.rebuilding", "shadow_tables.sql")

Advance = Callable[[int, int], None]
"""Told of progress: the position that was reached, and the last one."""


@dataclass(slots=True, kw_only=True)
class Filling:
    """How far the built tables are. `plain` sees the live tables, `builder` the built ones under the same names.

    `events` counts what was taken in, `put_aside` what the service could not process either.
    """

    model: Rebuildable
    making: Making
    plain: Connection
    builder: ShadowConnection
    reader: PostgresLedgerReader
    advance: Advance
    events: int = 0
    put_aside: int = 0
    _after: int = 0
    _held: list[LedgerEvent] = field(default_factory=list)

    async def begin(self) -> None:
        """Note where the live read model's writers are. They are locked out."""
        for standing in self.making.standings:
            await standing.mark(self.plain)
        if self.making.begun is not None:
            await self.making.begun(self.plain)

    async def look(self) -> None:
        """Note how far the live read model has come by now."""
        for standing in self.making.standings:
            await standing.look(self.plain)

    async def lacking(self) -> str | None:
        """What the ledger lacks of what the live read model has, as of the last look, in words; None: nothing."""
        for standing in self.making.standings:
            lacking = await standing.lacking(self.plain)
            if lacking is not None:
                return f"the ledger lags: {lacking}"
        return None

    async def catch_up(self) -> None:
        """Go on until little is left."""
        for _ in range(ROUNDS_MAX):
            if await self.round() < SMALL_ROUND_EVENTS:
                break

    async def round(self) -> int:
        """Take in what was handled by now, of what was held back and of what is new; return how much it was.

        Raises InvariantViolated for an event that cannot be folded, OutsideUnavailable where too much is held back.
        """
        before, last = self.events, await self.reader.last_position()
        # Looked at after that: so of whatever is read, it is known in which life of the broker it was recorded.
        await self.look()
        waiting, self._held = self._held, []
        for start in range(0, len(waiting), BATCH_EVENTS):
            await self._sift(waiting[start : start + BATCH_EVENTS])
        batch: list[LedgerEvent] = []
        selection = Selection(
            after=self._after, until_position=last, since_time=self.making.since_time, types=self.model.types
        )
        async for event in self.reader.read(selection):
            batch.append(event)
            if len(batch) == BATCH_EVENTS:
                await self._sift(batch)
                self.advance(event.position, last)
                batch = []
        await self._sift(batch)
        self.advance(last, last)
        self._after = last
        return self.events - before

    async def _sift(self, events: Sequence[LedgerEvent]) -> None:
        """Take in those that were handled, and hold the others back."""
        handled: set[int] = set()
        for standing in self.making.standings:
            concerned = [event for event in events if standing.concerns(event)]
            told = await standing.handled(self.plain, concerned)
            handled |= {event.position for event, yes in zip(concerned, told, strict=True) if yes}
            self._held += [event for event, yes in zip(concerned, told, strict=True) if not yes]
        self._held.sort(key=lambda event: event.position)
        if len(self._held) > HELD_EVENTS_MAX:
            raise OutsideUnavailable(
                f"{self.model.service} is more than {HELD_EVENTS_MAX:,} events behind the ledger: start it, let it"
                " catch up, and rebuild then"
            )
        ready = [event for event in events if event.position in handled]
        if ready:
            await self._take_in(ready)

    async def _take_in(self, events: Sequence[LedgerEvent]) -> None:
        try:
            async with self.builder.transaction():
                await self.making.apply(self.builder, events)
        except (psycopg.OperationalError, psycopg.ProgrammingError, OutsideUnavailable, ConfigurationError):
            raise
        except Exception as wrong:
            if len(events) > 1:
                for event in events:
                    await self._take_in([event])
                return
            [event] = events
            if not await self._was_put_aside(event):
                raise InvariantViolated(
                    f"{type_and_version(event.envelope.data)[0]} at position {event.position} cannot be taken into"
                    f" {self.model.name}, which is as it was: {wrong}"
                ) from wrong
            self.put_aside += 1
            return
        self.events += len(events)

    async def _was_put_aside(self, event: LedgerEvent) -> bool:
        asked = {"event": event.envelope.id, "service": self.model.service}
        row = await (await self.plain.execute(_QUERIES["put_aside"], asked)).fetchone()
        return bool(row and row[0])
