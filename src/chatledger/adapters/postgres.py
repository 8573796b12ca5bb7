"""Postgres through psycopg: migrations, and consumer positions that are saved with their effect.

Each service owns one schema. Its SQL lies in `.sql` files of its own package; what is here is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.ports import Positions, TopicPartition

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""Options of a connection that holds a lock: a machine that vanished loses it within half a minute, not after hours."""


async def open_pool(url: str, *, connections_max: int = 4, role: str | None = None) -> Pool:
    """Return an open pool; with `role`, every connection takes it on. Raises OutsideUnavailable."""

    async def configure(connection: Connection) -> None:
        if role is not None:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            await connection.commit()

    pool: Pool = AsyncConnectionPool(
        url, min_size=1, max_size=connections_max, open=False, configure=configure, timeout=10
    )
    try:
        await pool.open(wait=True, timeout=15)
    except psycopg.Error as wrong:
        await pool.close()
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
    return pool


async def migrate(url: str, *, schema: str, package: str) -> list[str]:
    """Apply the numbered `.sql` files of `package`.migrations that `schema` has not seen; return their names.

    One migrator at a time, each file in one transaction with its entry in `<schema>.migrations`. Raises
    OutsideUnavailable when Postgres does not answer, ConfigurationError when a released file was edited, the URL is
    none, or its user may not set up the schema.
    """
    scripts = sorted(
        (file.name, file.read_text("utf-8"))
        for file in files(f"{package}.migrations").iterdir()
        if file.name.endswith(".sql")
    )
    applied = []
    try:
        async with await AsyncConnection.connect(url) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('chatledger migrations'))")
            seen = await _migrations_seen(connection, schema)
            for name, script in scripts:
                if name not in seen:
                    await connection.execute(script.encode())
                    await connection.execute(
                        sql.SQL("INSERT INTO {}.migrations (name, script) VALUES (%s, %s)").format(
                            sql.Identifier(schema)
                        ),
                        (name, script),
                    )
                    applied.append(name)
                elif seen[name] != script:
                    raise ConfigurationError(f"{schema}: migration {name} was applied in another wording")
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
    except psycopg.errors.InsufficientPrivilege as wrong:
        raise ConfigurationError(
            f"the database's user may not set up the schema {schema} ({wrong.diag.message_primary}): name one with"
            " CREATE on the database and CREATEROLE; where the roles chatledger_recorder and chatledger_reader exist,"
            " it must be a member of both"
        ) from wrong
    except psycopg.ProgrammingError as wrong:
        raise unreadable_url(wrong) from wrong
    return applied


def unreadable_url(wrong: psycopg.ProgrammingError) -> Exception:
    """Return what to say of an error before there was any connection: then it is the URL that is wrong."""
    if wrong.sqlstate is not None:
        return wrong
    return ConfigurationError("CHATLEDGER_DATABASE is no Postgres URL: write postgresql://user:password@host/database")


async def _migrations_seen(connection: Connection, schema: str) -> dict[str, str]:
    name = sql.Identifier(schema)
    await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    await connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {}.migrations"
            " (name text PRIMARY KEY, script text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        ).format(name)
    )
    rows = await connection.execute(sql.SQL("SELECT name, script FROM {}.migrations").format(name))
    return dict(await rows.fetchall())


class PostgresPositions:
    """The port PositionStore over `<schema>.positions`, and the two steps that a consumer's transaction takes.

    The table is (incarnation text, topic text, partition int, next_offset bigint), keyed by the first three; each
    service's first migration makes it.
    """

    def __init__(self, pool: Pool, *, schema: str, incarnation: str) -> None:
        self._pool = pool
        self._incarnation = incarnation
        table = sql.Identifier(schema, "positions")
        self._read = sql.SQL(
            "SELECT topic, partition, next_offset FROM {} WHERE incarnation = %s AND topic = ANY(%s)"
        ).format(table)
        self._lock = sql.SQL("{} ORDER BY topic, partition FOR UPDATE").format(self._read)
        self._make = sql.SQL(
            "INSERT INTO {} (incarnation, topic, partition, next_offset)"
            " SELECT %s, topic, partition, 0 FROM unnest(%s::text[], %s::int[]) AS wanted (topic, partition)"
            " ON CONFLICT DO NOTHING"
        ).format(table)
        self._save = sql.SQL(
            "UPDATE {} AS position SET next_offset = moved.next_offset"
            " FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS moved (topic, partition, next_offset)"
            " WHERE position.incarnation = %s AND position.topic = moved.topic"
            " AND position.partition = moved.partition"
        ).format(table)

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions`, on a connection of its own."""
        async with self._pool.connection() as connection:
            return await self._select(connection, self._read, partitions)

    async def lock(self, connection: Connection, partitions: Sequence[TopicPartition]) -> Positions:
        """First step of a transaction: lock the positions of `partitions` and return them.

        A record below its position was handled by somebody else and is to be left out.
        """
        topics, numbers = [each.topic for each in partitions], [each.partition for each in partitions]
        locked = await self._select(connection, self._lock, partitions)
        if len(locked) < len(set(partitions)):
            await connection.execute(self._make, (self._incarnation, topics, numbers))
            locked = await self._select(connection, self._lock, partitions)
        return locked

    async def save(self, connection: Connection, positions: Mapping[TopicPartition, int]) -> None:
        """Last step of a transaction: move the locked positions on."""
        topics = [each.topic for each in positions]
        numbers = [each.partition for each in positions]
        await connection.execute(self._save, (topics, numbers, list(positions.values()), self._incarnation))

    async def _select(
        self, connection: Connection, query: Any, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        wanted = set(partitions)
        rows = await connection.execute(query, (self._incarnation, sorted({each.topic for each in wanted})))
        found = {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}
        return {partition: offset for partition, offset in found.items() if partition in wanted}
