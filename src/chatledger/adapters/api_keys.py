"""API keys in Postgres, in a schema of their own: made, listed and revoked by the command line, looked up by the APIs.

A key is known for `REMEMBERED_FOR_S` without asking again, so that a lookup for each request costs nothing; one that
was revoked stops within that time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from chatledger.access import CHANCE_BYTES, KEY_PREFIX, Principal, Scope, key_hash, new_key, shown_prefix
from chatledger.adapters.access import query
from chatledger.adapters.postgres import Pool, migrate, open_pool, unreadable_url
from chatledger.errors import ConfigurationError, OutsideUnavailable

SCHEMA, PACKAGE = "access", "chatledger.adapters.access"
REMEMBERED_FOR_S = 5.0
REMEMBERED_MAX = 1_000
"""Keys that are remembered at once; there are seldom more than a few."""
CONNECTIONS_MAX = 2
NAME_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as lists show it: everything but the key."""

    prefix: str
    name: str
    scope: str
    project: str | None
    created_at: datetime
    revoked_at: datetime | None
    last_used_on: date | None


class PostgresKeyRing:
    """The port KeyRing over a pool, which belongs to whoever made it. `monotonic` tells seconds."""

    def __init__(
        self,
        pool: Pool,
        *,
        remembered_for_s: float = REMEMBERED_FOR_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._remembered_for_s, self._monotonic = remembered_for_s, monotonic
        self._known: dict[str, tuple[float, Principal]] = {}
        self._lock = asyncio.Lock()

    async def principal(self, key: str) -> Principal | None:
        """Return whom `key` stands for, None where it is unknown or revoked. Raises OutsideUnavailable.

        A key that is not known is asked for each time: so that a new one counts at once.
        """
        digest = key_hash(key)
        if (known := self._remembered(digest)) is not None:
            return known
        async with self._lock:  # of many requests at once, one asks
            if (known := self._remembered(digest)) is not None:
                return known
            principal = await self._asked(digest)
            if principal is not None:
                self._remember(digest, principal)
            return principal

    def _remembered(self, digest: str) -> Principal | None:
        until, principal = self._known.get(digest, (0.0, None))
        return principal if self._monotonic() < until else None

    def _remember(self, digest: str, principal: Principal) -> None:
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[digest] = (self._monotonic() + self._remembered_for_s, principal)

    async def _asked(self, digest: str) -> Principal | None:
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(query("use_key"), {"hash": digest})).fetchone()
        except psycopg.Error as wrong:
            # While it cannot be asked nobody knows what was revoked meanwhile.
            self._known.clear()
            raise OutsideUnavailable(f"the API keys cannot be read: {wrong}") from wrong
        if row is None:
            self._known.pop(digest, None)
            return None
        name, scope, project = row
        return Principal(name=name, scope=Scope[scope.upper()], project=project)


@asynccontextmanager
async def opened_key_ring(url: str) -> AsyncIterator[PostgresKeyRing]:
    """Yield a ring over connections of its own. The schema must be there. Raises OutsideUnavailable."""
    pool = await open_pool(url, connections_max=CONNECTIONS_MAX)
    try:
        yield PostgresKeyRing(pool)
    finally:
        await pool.close()


async def migrate_api_keys(url: str) -> None:
    """Bring the schema up to date. Raises OutsideUnavailable, ConfigurationError."""
    await migrate(url, schema=SCHEMA, package=PACKAGE)


async def create_key(url: str, *, name: str, scope: Scope, project: str | None = None) -> tuple[str, ApiKey]:
    """Make a key, and return it and what is kept of it; nobody can ask for the key again.

    Raises ConfigurationError when a key in use has the name, or the name is none; OutsideUnavailable.
    """
    if not name.strip() or not name.isprintable() or len(name) > NAME_LENGTH_MAX or name.startswith(KEY_PREFIX):
        raise ConfigurationError(
            f"the name of a key has 1 to {NAME_LENGTH_MAX} characters and does not start with {KEY_PREFIX}"
        )
    key = new_key(secrets.token_bytes(CHANCE_BYTES))
    kept = {"hash": key_hash(key), "prefix": shown_prefix(key), "name": name, "scope": scope.name.lower()}
    made = await _rows(url, "create_key", {**kept, "project": project})
    if not made:
        raise ConfigurationError(f"a key in use is called {name!r}: revoke it first, or choose another name")
    return key, made[0]


async def list_keys(url: str) -> list[ApiKey]:
    """Return all keys, those in use first. Raises OutsideUnavailable."""
    return await _rows(url, "list_keys", {})


async def revoke_keys(url: str, which: str) -> list[ApiKey]:
    """Revoke the keys in use with this name or shown prefix; return them. Raises OutsideUnavailable."""
    return await _rows(url, "revoke_keys", {"which": which})


async def _rows(url: str, name: str, parameters: dict[str, Any]) -> list[ApiKey]:
    try:
        async with (
            await psycopg.AsyncConnection.connect(url) as connection,
            connection.cursor(row_factory=class_row(ApiKey)) as cursor,
        ):
            await cursor.execute(query(name), parameters)
            return await cursor.fetchall()
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
    except psycopg.ProgrammingError as wrong:
        raise unreadable_url(wrong) from wrong
