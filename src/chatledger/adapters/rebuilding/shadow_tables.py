"""Tables built beside live ones, in a schema of their own, compared with them, and put in their place.

They are made like the live ones to the name of the last index, with their rights and comments, so that nobody who
comes later can tell them apart. What is filled by the services' own SQL is reached through `ShadowConnection`, on which
the live tables' names mean the built ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.rows import TupleRow

from chatledger.adapters.postgres import Connection
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import ConfigurationError

SCHEMA = "chatledger_rebuild"
"""Where tables are built. What a rebuild that was killed has left there is cleared away by the next."""
DIFFERENCES_SHOWN_MAX = 50

_QUERIES = named_statements("chatledger.adapters.rebuilding", "shadow_tables.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A live table. `kept` are columns that no event tells: they are taken over from the live row as they are.

    `compared` is a condition in SQL: rows that do not meet it may be there or not.
    """

    name: str
    kept: tuple[str, ...] = ()
    compared: str = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that is not the same in both: its key, and the columns. `kind` is missing, needless or different.

    A missing row is one that the live table should have; a needless one it should not.
    """

    table: str
    key: tuple[str, ...]
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many rows are not the same, and the first of them."""

    count: int
    shown: tuple[Difference, ...]


class ShadowConnection(AsyncConnection[TupleRow]):
    """A connection on which the names of live tables mean the built ones. A name in quotes means what it says."""

    _live: re.Pattern[bytes] | None = None

    def build(self, schema: str, tables: Sequence[Table]) -> None:
        """Let these tables of `schema` be the built ones from now on."""
        names = b"|".join(re.escape(each.name.encode()) for each in tables)
        self._live = re.compile(rb"\b" + re.escape(schema.encode()) + rb"\.(" + names + rb")\b")
        self.cursor_factory = _ShadowCursor

    def renamed(self, query: bytes) -> bytes:
        """Return a statement about the built tables."""
        return self._live.sub(SCHEMA.encode() + rb".\1", query) if self._live is not None else query


class _ShadowCursor(AsyncCursor[Any]):
    async def execute(self, query: Any, params: Any = None, **options: Any) -> _ShadowCursor:
        written = query if isinstance(query, bytes) else sql.SQL(query) if isinstance(query, str) else query
        text = written if isinstance(written, bytes) else written.as_bytes(self)
        await super().execute(cast("ShadowConnection", self.connection).renamed(text), params, **options)
        return self


class ShadowTables:
    """The built tables of one read model. `schema` is the live one's."""

    def __init__(self, schema: str, tables: Sequence[Table]) -> None:
        self._schema, self._tables = schema, tables

    async def make(self, connection: Connection) -> None:
        """Clear away what was left behind, and make empty tables.

        Raises ConfigurationError where something in the database holds on to the live ones.
        """
        found = await connection.execute(
            _QUERIES["hindrances"], {"tables": [self._name(each) for each in self._tables]}
        )
        hindrances = sorted(row[0] for row in await found.fetchall())
        if hindrances:
            raise ConfigurationError(
                f"the tables cannot be replaced: {'; '.join(hindrances)}. Remove it, rebuild, and make it again"
            )
        async with connection.transaction():
            await connection.execute(_filled("DROP SCHEMA IF EXISTS {built} CASCADE", self))
            await connection.execute(_filled("CREATE SCHEMA {built}", self))
            for table in self._tables:
                await self._make(connection, table)

    async def clear(self, connection: Connection) -> None:
        """Remove what was built."""
        await connection.execute(_filled("DROP SCHEMA IF EXISTS {built} CASCADE", self))

    async def analyze(self, connection: Connection) -> None:
        """Let Postgres learn what is in the built tables."""
        for table in self._tables:
            await connection.execute(_filled("ANALYZE {built}.{table}", self, table))

    async def count(self, connection: Connection, *, switched: bool) -> int:
        """Return how many rows the built tables have, which, once `switched`, are the live ones."""
        rows = 0
        for table in self._tables:
            query = "SELECT count(*) FROM {live}.{table}" if switched else "SELECT count(*) FROM {built}.{table}"
            found = await connection.execute(_filled(query, self, table))
            rows += cast("tuple[int]", await found.fetchone())[0]
        return rows

    async def keep_readers_out(self, connection: Connection) -> None:
        """Lock the live tables for everybody. Raises psycopg.errors.LockNotAvailable."""
        await connection.execute(self._lock("ACCESS EXCLUSIVE"))

    async def keep_writers_out(self, connection: Connection) -> None:
        """Lock the live tables for who writes. Raises psycopg.errors.LockNotAvailable."""
        await connection.execute(self._lock("EXCLUSIVE"))

    async def switch(self, connection: Connection) -> None:
        """Put the built tables in the place of the live ones, which are locked, within the caller's transaction."""
        for table in self._tables:
            await self._take_over(connection, table)
        live = sql.SQL(", ").join(sql.Identifier(self._schema, each.name) for each in self._tables)
        await connection.execute(sql.SQL("DROP TABLE {}").format(live))
        for table in self._tables:
            await connection.execute(_filled("ALTER TABLE {built}.{table} SET SCHEMA {live}", self, table))
        await connection.execute(_filled("DROP SCHEMA {built}", self))

    async def compare(self, connection: Connection) -> Comparison:
        """Say which rows are not the same. Both must be seen as of one moment."""
        count, shown = 0, list[Difference]()
        for table in self._tables:
            key = await self._key(connection, table)
            query = sql.SQL(cast("Any", _QUERIES["compare"].decode())).format(
                key=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(each)) for each in key),
                kept=sql.Literal(list(table.kept)),
                live=sql.Identifier(self._schema, table.name),
                built=sql.Identifier(SCHEMA, table.name),
                compared=sql.SQL(cast("Any", table.compared)),
                limit=sql.Literal(max(1, DIFFERENCES_SHOWN_MAX - len(shown))),
            )
            rows = await (await connection.execute(query)).fetchall()
            count += rows[0][0]
            name = f"{self._schema}.{table.name}"
            shown += [
                Difference(table=name, key=tuple(each), kind=kind, columns=tuple(columns or ()))
                for _, each, kind, columns in rows
                if each is not None
            ]
        return Comparison(count=count, shown=tuple(shown))

    async def _make(self, connection: Connection, table: Table) -> None:
        made = "CREATE TABLE {built}.{table} (LIKE {live}.{table} INCLUDING ALL EXCLUDING INDEXES)"
        await connection.execute(_filled(made, self, table))
        like = await connection.execute(_QUERIES["likeness"], {"schema": SCHEMA, "table": self._name(table)})
        for (statement,) in await like.fetchall():
            await connection.execute(statement.encode())

    async def _take_over(self, connection: Connection, table: Table) -> None:
        """Take over from the live table what no event tells."""
        if table.kept:
            same = [
                sql.SQL("built.{0} = live.{0}").format(sql.Identifier(each))
                for each in await self._key(connection, table)
            ]
            taken = [sql.SQL("{0} = live.{0}").format(sql.Identifier(each)) for each in table.kept]
            await connection.execute(
                sql.SQL("UPDATE {} AS built SET {} FROM {} AS live WHERE {}").format(
                    sql.Identifier(SCHEMA, table.name),
                    sql.SQL(", ").join(taken),
                    sql.Identifier(self._schema, table.name),
                    sql.SQL(" AND ").join(same),
                )
            )
        names = {"live": self._name(table), "built": f"{SCHEMA}.{table.name}"}
        for live, built in await (await connection.execute(_QUERIES["sequences"], names)).fetchall():
            going_on = "SELECT setval({}, last_value, is_called) FROM {}"
            await connection.execute(
                sql.SQL(cast("Any", going_on)).format(sql.Literal(built), sql.Identifier(*live.split(".")))
            )

    async def _key(self, connection: Connection, table: Table) -> list[str]:
        rows = await connection.execute(_QUERIES["primary_key"], {"table": self._name(table)})
        return [name for (name,) in await rows.fetchall()]

    def _lock(self, mode: str) -> sql.Composed:
        names = sql.SQL(", ").join(sql.Identifier(self._schema, each.name) for each in self._tables)
        return sql.SQL("LOCK TABLE {} IN {} MODE").format(names, sql.SQL(cast("Any", mode)))

    def _name(self, table: Table) -> str:
        return f"{self._schema}.{table.name}"

    @property
    def schema(self) -> str:
        """The live tables' schema."""
        return self._schema


async def missing_tables(connection: Connection, schema: str, tables: Sequence[Table]) -> list[str]:
    """Return those of the tables that are not in the database."""
    names = [f"{schema}.{each.name}" for each in tables]
    return [name for (name,) in await (await connection.execute(_QUERIES["missing"], {"tables": names})).fetchall()]


def _filled(statement: str, tables: ShadowTables, table: Table | None = None) -> sql.Composed:
    names = {"built": sql.Identifier(SCHEMA), "live": sql.Identifier(tables.schema)}
    if table is not None:
        names["table"] = sql.Identifier(table.name)
    return sql.SQL(cast("Any", statement)).format(**names)
