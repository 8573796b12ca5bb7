"""A read model made anew from the ledger beside the live one, and put in its place in one transaction.

The new tables are filled in rounds while the live ones are in use, until little is left. Then the writer is locked out,
what is left is added, and the tables change places. For readers there is the old read model and then the new one; the
writer goes on where it stood, because the new one holds exactly what the old one had handled.

Nothing is held for longer than HOLD_S at a time: what is not ready by then is put off. That is less than the time after
which Postgres takes a wait for a deadlock, so nobody else is ever turned away because of a rebuild.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain

import psycopg
from psycopg import AsyncConnection, errors, sql

from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.declared import Rebuildable
from chatledger.adapters.rebuilding.filling import Advance, Filling
from chatledger.adapters.rebuilding.shadow_tables import Comparison, ShadowConnection, ShadowTables, missing_tables
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.projects import Project

PATIENCE_S = 60.0
HOLD_S = 0.8
READERS_HOLD_S = 0.3
"""How long to wait for who reads at this moment. Both stay below deadlock_timeout, which is 1 s."""
WRITERS_WAIT_S = 3.0
"""How long to wait for who writes at this moment, before anything is held."""
LOOK_EVERY_S = 0.05
LOOK_AGAIN_S = 0.01
"""While writers are locked out."""

_QUERIES = named_statements("chatledger.adapters.rebuilding", "shadow_tables.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a rebuild did. `put_aside` counts events that the service could not process either: they are dead letters.

    `comparison` is there where the live read model was compared and not replaced. `locked_ms` is for how long its
    writers were locked out.
    """

    events: int
    rows: int
    put_aside: int
    seconds: float
    locked_ms: float
    comparison: Comparison | None


class _NotYet(Exception):
    """It cannot be finished within the time for which others may be held up: try again."""


async def is_there(url: str, model: Rebuildable) -> bool:
    """Whether the service has set up the read model's tables in this database. Raises OutsideUnavailable."""
    try:
        async with await AsyncConnection.connect(url) as connection:
            return not await missing_tables(connection, model.schema, model.tables)
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong


async def rebuild(
    model: Rebuildable,
    *,
    url: str,
    reader: PostgresLedgerReader,
    projects: Mapping[str, Project],
    check: bool = False,
    patience_s: float = PATIENCE_S,
    advance: Advance = lambda position, last: None,
) -> Outcome:
    """Build the read model anew and put it in the live one's place; with `check`, compare the two instead.

    The live one is untouched until the switch, and after any error. Raises ConfigurationError where it cannot be done
    as things are, OutsideUnavailable where the ledger or the writers leave no moment for it within `patience_s`,
    InvariantViolated where an event cannot be folded.
    """
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        try:
            guard = await stack.enter_async_context(await AsyncConnection.connect(url, autocommit=True))
            builder = await stack.enter_async_context(await ShadowConnection.connect(url, autocommit=True))
            await _take_the_lock(guard)
            filling = Filling(
                model=model,
                making=model.begin(projects),
                plain=guard,
                builder=builder,
                reader=reader,
                advance=advance,
            )
            work = _Rebuild(model=model, guard=guard, builder=builder, filling=filling, patience_s=patience_s)
            comparison, rows, locked_s = await work.run(check=check)
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn) as wrong:
            raise ConfigurationError(
                f"the tables are not those of this release ({wrong.diag.message_primary}): start the services once,"
                " which brings them up to date"
            ) from wrong
        except errors.InsufficientPrivilege as wrong:
            raise ConfigurationError(
                f"the database's user may not rebuild {model.name} ({wrong.diag.message_primary}): name the owner of"
                " its tables, with CREATE on the database"
            ) from wrong
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
    return Outcome(
        events=filling.events,
        rows=rows,
        put_aside=filling.put_aside,
        seconds=time.monotonic() - started,
        locked_ms=locked_s * 1_000,
        comparison=comparison,
    )


async def _take_the_lock(guard: Connection) -> None:
    row = await (await guard.execute(_QUERIES["lock"])).fetchone()
    if row is None or not row[0]:
        raise ConfigurationError("another rebuild is at work on this database: wait until it has ended")


@dataclass(slots=True, kw_only=True)
class _Rebuild:
    """One rebuild. `guard` holds the locks and switches; `builder` sees the built tables."""

    model: Rebuildable
    guard: Connection
    builder: ShadowConnection
    filling: Filling
    patience_s: float
    tables: ShadowTables = field(init=False)
    migrations: list[str] = field(init=False)

    async def run(self, *, check: bool) -> tuple[Comparison | None, int, float]:
        self.tables = ShadowTables(self.model.schema, self.model.tables)
        self.migrations = await self._migrations()
        await self.tables.make(self.guard)
        try:
            self.builder.build(self.model.schema, self.model.tables)
            # What was built is worth nothing until the switch, and that is committed to the disk.
            await self.builder.execute("SET synchronous_commit = off")
            await self._with_writers_out(self._begin)
            await self.filling.catch_up()
            await self.tables.analyze(self.guard)
            locked_s = await self._with_writers_out(self._freeze if check else self._switch, prepared=True)
            compared = await self.tables.compare(self.builder) if check else None
            rows = await self.tables.count(self.builder if check else self.guard, switched=not check)
            return compared, rows, locked_s
        finally:
            if not self.guard.closed and not self.builder.closed:
                await self.builder.rollback()
                await self.tables.clear(self.guard)

    async def _with_writers_out(self, step: Callable[[float], Awaitable[None]], *, prepared: bool = False) -> float:
        """Take a step while writers are locked out, as often as it needs; return for how long they were, in seconds.

        The step is told when that began. With `prepared` nobody is locked out before little is left to do.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            hindrance = await self._prepare(deadline) if prepared else None
            if hindrance is None:
                try:
                    async with self._writers_out() as began:
                        await step(began)
                    return time.monotonic() - began
                except (_NotYet, errors.LockNotAvailable, errors.DeadlockDetected) as wrong:
                    hindrance = str(wrong).strip()
            if time.monotonic() > deadline:
                raise OutsideUnavailable(
                    f"{self.model.name} was not rebuilt within {self.patience_s:g} s, and is as it was: {hindrance}."
                    " See that the services run, `chatledger up` or your own, and try again, or wait longer with --wait"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _prepare(self, deadline: float) -> str | None:
        """Leave little to do; return what the ledger lacks at the deadline, None where it has all of a moment ago.

        In traffic there is always something that was not recorded yet. That it came shows that what follows will.
        """
        await self.filling.catch_up()
        while True:
            lacking = await self.filling.lacking()
            if lacking is None or time.monotonic() > deadline:
                return lacking
            await asyncio.sleep(LOOK_EVERY_S)

    @asynccontextmanager
    async def _writers_out(self) -> AsyncIterator[float]:
        """Lock out who writes, for the time of a `with`; give when that began."""
        async with self.guard.transaction():
            began = None
            await self._limit_waits(WRITERS_WAIT_S)
            for name in self.model.locked_first:
                table = sql.Identifier(*name.split("."))
                await self.guard.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(table))
                began = began or time.monotonic()
                await self._limit_waits(HOLD_S / 2)
            await self.tables.keep_writers_out(self.guard)
            yield began or time.monotonic()

    async def _begin(self, began: float) -> None:
        await self.filling.begin()

    async def _freeze(self, began: float) -> None:
        """Catch up, and take a picture of both, which lasts when writers go on."""
        await self._catch_up(began)
        await self.builder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await self.builder.execute("SELECT 1")

    async def _switch(self, began: float) -> None:
        await self._catch_up(began)
        row = await (await self.guard.execute(_QUERIES["migrations_stand_still"])).fetchone()
        if row is None or not row[0]:
            raise _NotYet("a service is setting up its tables")
        if await self._migrations() != self.migrations:
            raise ConfigurationError(f"the tables of {self.model.schema} were changed meanwhile: rebuild once more")
        await self._limit_waits(max(0.05, min(READERS_HOLD_S, began + HOLD_S - time.monotonic())))
        await self.tables.keep_readers_out(self.guard)
        await self.tables.switch(self.guard)

    async def _catch_up(self, began: float) -> None:
        """Add the last of what the live read model has. Its writer stands still: what the ledger lacks comes soon."""
        await self.filling.look()
        while (lacking := await self.filling.lacking()) is not None:
            if time.monotonic() > began + HOLD_S / 2:
                raise _NotYet(lacking)
            await asyncio.sleep(LOOK_AGAIN_S)
        await self.filling.round()
        if time.monotonic() > began + HOLD_S:
            raise _NotYet("too much was left to do at the end")

    async def _limit_waits(self, seconds: float) -> None:
        await self.guard.execute("SELECT set_config('lock_timeout', %s, true)", (f"{max(1, int(seconds * 1_000))}ms",))

    async def _migrations(self) -> list[str]:
        names = sql.SQL("SELECT name FROM {}.migrations ORDER BY name").format(sql.Identifier(self.model.schema))
        return [*chain.from_iterable(await (await self.guard.execute(names)).fetchall())]
