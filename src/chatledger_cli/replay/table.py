"""Replayed events into a table of the user's own: a copy of the selected part of `ledger.events`.

Exactly once: events go in by their id, in batches, and each batch moves the replay's position in its own transaction.
The position is in `chatledger_replays` beside the table; so the same command, given again, goes on where it stopped,
and given every night it brings the table up to date.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from chatledger.adapters.ledger_rows import SEPARATOR, RecordedRow, copy_line
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger_cli.replay.position import Progress, progress_of, require_same
from chatledger_cli.selection import Chosen, as_json

POSITIONS = "chatledger_replays"
OUR_SCHEMAS = frozenset(
    {"access", "billing", "crm", "history", "ledger", "notify", "outreach", "procrastinate"}
    | {"information_schema", "pg_catalog"}
)
"""Schemas whose tables have an owner already."""

_NAME = re.compile(r"(?:([a-z_][a-z0-9_]{0,62})\.)?([a-z_][a-z0-9_]{0,62})")


class Table:
    """Puts events into one table."""

    def __init__(self, connection: AsyncConnection[TupleRow], queries: Mapping[str, bytes], progress: Progress) -> None:
        self._connection, self._queries = connection, queries
        self.progress = progress
        """How far this table has come; moved on by each write."""

    @property
    def name(self) -> str:
        """The table with its schema."""
        return self.progress.target

    async def write(self, rows: Sequence[RecordedRow]) -> None:
        """Put rows in and move the position, in one transaction. Raises OutsideUnavailable, ConfigurationError."""
        before = self.progress
        after = replace(
            before, position=rows[-1].position, last_id=rows[-1].record.id, events=before.events + len(rows)
        )
        moved = {"position": after.position, "last_id": after.last_id, "events": after.events, "name": _key(after)}
        with _database_errors():
            async with self._connection.transaction():
                await self._connection.execute(self._queries["stage"])
                cursor = self._connection.cursor()
                async with cursor.copy(self._queries["copy"]) as copy:
                    await copy.write(b"".join(map(_line, rows)))
                await cursor.execute(self._queries["upsert"])
                where = {"from_position": before.position, "from_events": before.events}
                await cursor.execute(self._queries["move"], {**moved, **where})
                if cursor.rowcount != 1:
                    raise ConfigurationError(f"another replay is writing {self.name}: let one of them end first")
        self.progress = after

    def settle(self) -> int:
        """What was committed is the database's to keep."""
        return 0


def split_name(table: str) -> tuple[str, ...]:
    """Return schema and name, or the name alone. Raises ConfigurationError where it cannot be a table of the user's."""
    found = _NAME.fullmatch(table)
    if found is None:
        raise ConfigurationError(f"{table!r} is no table's name: write name or schema.name, in lower case")
    if found[1] in OUR_SCHEMAS or found[2] == POSITIONS:
        raise ConfigurationError(f"{table} belongs to chatledger or to Postgres itself: name a table of your own")
    return tuple(part for part in found.groups() if part is not None)


@contextlib.asynccontextmanager
async def open_table(url: str, table: str, chosen: Chosen) -> AsyncIterator[Table]:
    """A table to write to, made where it is missing, as far as it has come.

    Raises ConfigurationError where there is a table that no replay made, or that holds another selection;
    OutsideUnavailable where its database does not answer.
    """
    names = split_name(table)
    identifiers = {
        b"{table}": sql.Identifier(*names).as_bytes(),
        b"{positions}": sql.Identifier(*names[:-1], POSITIONS).as_bytes(),
    }
    with _database_errors():
        connection = await AsyncConnection.connect(url, connect_timeout=10, application_name="chatledger replay")
    async with connection:
        await connection.set_autocommit(True)
        queries = {
            name: _with_names(text, identifiers)
            for name, text in named_statements("chatledger_cli.replay", "table.sql").items()
        }
        with _database_errors():
            progress = await _begun(connection, queries, ".".join(names), chosen)
        yield Table(connection, queries, progress)


async def _begun(
    connection: AsyncConnection[TupleRow], queries: Mapping[str, bytes], table: str, chosen: Chosen
) -> Progress:
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(queries["make_positions"])
        await cursor.execute(queries["is_there"], {"table": table})
        is_new = await cursor.fetchone() == (False,)
        if is_new:
            await cursor.execute(queries["make_table"])
            await cursor.execute(queries["index_positions"])
        await cursor.execute(queries["full_name"], {"table": table})
        (name,) = await cursor.fetchone() or (table,)
        if is_new:
            begun = Progress(chosen=chosen, target=_target(name), position=chosen.selection.after)
            kept = {"name": name, "selection": Jsonb(as_json(chosen)), "position": begun.position}
            await cursor.execute(queries["begin"], kept)
            return begun
        await cursor.execute(queries["progress"], {"name": name})
        found = await cursor.fetchone()
        if found is None:
            raise ConfigurationError(f"the table {name} was not made by a replay: name another one")
        selection, position, last_id, events = found
        progress = progress_of(selection, target=_target(name), position=position, last_id=last_id, events=events)
        require_same(progress, chosen, _target(name), f"the table {name}")
        return progress


def _target(name: str) -> str:
    return f"table {name}"


def _key(progress: Progress) -> str:
    return progress.target.removeprefix("table ")


def _line(row: RecordedRow) -> bytes:
    fields = (copy_line(row.record)[:-1], b"%d" % row.position, row.recorded_at.isoformat().encode() + b"\n")
    return SEPARATOR.join(fields)


def _with_names(text: bytes, identifiers: Mapping[bytes, bytes]) -> bytes:
    for placeholder, name in identifiers.items():
        text = text.replace(placeholder, name)
    return text


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    """Name what the table's database says: it is another one than the ledger's."""
    try:
        yield
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"the database of --to-database: {wrong}") from wrong
    except psycopg.ProgrammingError as wrong:
        if wrong.sqlstate is None:
            raise ConfigurationError(
                "--to-database is no Postgres URL: write postgresql://user@host/database"
            ) from wrong
        raise ConfigurationError(f"the database of --to-database refuses: {wrong.diag.message_primary}") from wrong
