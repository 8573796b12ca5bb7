"""Events as an object-centric event log, OCEL 2.0 in SQLite, for process mining.

Every event of the selection is an event of the log, at its event time. Objects have what they had from the beginning at
1970-01-01, as the standard wants it, and what changed at the time of the change. The file grows on the disk, so a long
history needs no more memory than a short one.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatledger.adapters.sql_files import named_statements
from chatledger.errors import InvariantViolated, OutsideUnavailable
from chatledger.history.ocel_facts import (
    OBJECT_TYPES,
    Thing,
    as_value,
    event_columns,
    event_values,
    facts_of,
    type_of,
)
from chatledger.history.tables import Progress
from chatledger.ports import LedgerEvent

EVENTS_PER_TRANSACTION = 5_000
BEGINNING = as_value(datetime(1970, 1, 1, tzinfo=UTC))
REMEMBERED = 50_000
CACHE_KIB = 64 * 1024
"""SQLite's pages in memory; the log may be far larger."""

_STATEMENTS = named_statements("chatledger.history", "ocel.sql")
_TABLES = ("event_map_type", "object_map_type", "event", "object", "event_object", "object_object", "cause")
# Names of tables that a type's own table must not have.
_TAKEN = frozenset({"object", "maptype"})


def write_ocel(events: Iterable[LedgerEvent], path: Path, progress: Progress) -> int:
    """Write all `events` to the SQLite file `path`, which is not there yet; return how many.

    Raises OutsideUnavailable where the disk is full.
    """
    count = position = 0
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            log = _Log(connection)
            for event in events:
                log.add(event)
                count, position = count + 1, event.position
                if count % EVENTS_PER_TRANSACTION == 0:
                    log.save()
                    progress(position)
            log.finish()
            progress(position)
    except sqlite3.OperationalError as wrong:
        raise OutsideUnavailable(f"the event log could not be written: {wrong}") from wrong
    return count


class _Log:
    """The tables of a log. What is added waits until it is saved, each kind of row in one go."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}", "foreign_keys = OFF"):
            # The file is nobody's until it is complete and brought to the disk; its keys are checked at the end.
            connection.execute(f"PRAGMA {setting}")
        for table in _TABLES:
            connection.execute(_STATEMENTS[table].decode())
        self._event_types: dict[str, str] = {}
        self._event_tables: list[str] = []
        self._inserts: dict[str, str] = {}
        for kind, columns in OBJECT_TYPES.items():
            self._make_object_type(kind, columns)
        connection.execute(_STATEMENTS["invoice_changes"].decode())
        self._waiting: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._said: set[tuple[Any, ...]] = set()
        connection.execute("BEGIN")

    def add(self, event: LedgerEvent) -> None:
        """Add one event and what it says of its objects."""
        envelope, facts = event.envelope, facts_of(event)
        type_name, time = type_of(envelope.data), as_value(envelope.time)
        if type_name not in self._event_types:
            self._make_event_type(type_name, event)
        self._put("INSERT INTO event VALUES (?, ?)", envelope.id, type_name)
        self._put(self._event_types[type_name], envelope.id, time, *event_values(event))
        for thing, qualifier in facts.things.items():
            known = facts.known.get(thing, {})
            if self._is_news((thing, *known.values())):
                self._put("INSERT OR IGNORE INTO object VALUES (?, ?)", thing.ocel_id, thing.type)
                attributes = (as_value(known.get(name)) for name in OBJECT_TYPES[thing.type])
                self._put(self._inserts[thing.type], thing.ocel_id, *attributes)
            self._put("INSERT INTO event_object VALUES (?, ?, ?)", envelope.id, thing.ocel_id, qualifier)
        for link in facts.links:
            if self._is_news(link):
                source, target, qualifier = link
                ids = source.ocel_id, target.ocel_id
                self._put("INSERT OR IGNORE INTO object_object VALUES (?, ?, ?)", *ids, qualifier)
        for thing, name, value in facts.changes:
            self._change(thing, time, name, value)
        if facts.paid_minor is not None:
            self._pay(*facts.paid_minor, time)
        if envelope.causation_id is not None:
            cause = Thing("message", envelope.causation_id).ocel_id
            self._put("INSERT INTO cause VALUES (?, ?)", envelope.id, cause)

    def save(self) -> None:
        """Write what waits."""
        for statement, rows in self._waiting.items():
            self._connection.executemany(statement, rows)
        self._waiting.clear()
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def finish(self) -> None:
        """Write the rest, and check that every key leads somewhere. Raises InvariantViolated."""
        self.save()
        for statement in ("unique_event", "unique_event_object", "add_causes"):
            self._connection.execute(_STATEMENTS[statement].decode())
        for name in self._event_tables:
            self._connection.execute(f'CREATE UNIQUE INDEX "event_{name}_key" ON "event_{name}" (ocel_id)')
        self._connection.execute("COMMIT")
        broken = self._connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise InvariantViolated(f"the event log's table {broken[0]} has a key that leads nowhere")

    def _is_news(self, said: tuple[Any, ...]) -> bool:
        """Whether this was not written a while ago. What is forgotten is written again, which changes nothing."""
        if said in self._said:
            return False
        if len(self._said) >= REMEMBERED:
            self._said.clear()
        self._said.add(said)
        return True

    def _put(self, statement: str, *row: Any) -> None:
        self._waiting[statement].append(row)

    def _change(self, thing: Thing, time: str, name: str, value: Any) -> None:
        statement = (
            f'INSERT INTO object_{thing.type} (ocel_id, ocel_time, ocel_changed_field, "{name}") VALUES (?, ?, ?, ?)'
        )
        self._put(statement, thing.ocel_id, time, name, as_value(value))

    def _pay(self, invoice: Thing, amount: int, time: str) -> None:
        """Payments are amounts; what an invoice was paid by a time is their sum, and its status follows from that."""
        self.save()
        row = self._connection.execute(_STATEMENTS["invoice"].decode(), {"id": invoice.ocel_id}).fetchone()
        total, paid, status = row
        paid = (paid or 0) + amount
        self._change(invoice, time, "paid_minor", paid)
        if status != "void":
            left = total is None or paid < total
            self._change(invoice, time, "status", ("partly_paid" if paid > 0 else "issued") if left else "paid")

    def _make_event_type(self, type_name: str, event: LedgerEvent) -> None:
        columns = event_columns(type(event.envelope.data))
        name = self._free_name(type_name)
        declared = "".join(f', "{column}" {kind}' for column, kind in columns.items())
        self._connection.execute("INSERT INTO event_map_type VALUES (?, ?)", (type_name, name))
        self._connection.execute(
            f'CREATE TABLE "event_{name}" (ocel_id TEXT NOT NULL REFERENCES event (ocel_id),'
            f" ocel_time TIMESTAMP NOT NULL{declared})"
        )
        places = ", ".join("?" * (len(columns) + 2))
        self._event_tables.append(name)
        self._event_types[type_name] = f'INSERT INTO "event_{name}" VALUES ({places})'

    def _free_name(self, type_name: str) -> str:
        """A name for a type's table. SQLite takes `A` and `a` for one name, and so do we."""
        name = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", type_name)) or "Unnamed"
        rows = self._connection.execute("SELECT lower(ocel_type_map) FROM event_map_type").fetchall()
        taken = _TAKEN | {known for (known,) in rows}
        candidate, number = name, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}{number}"
        return candidate

    def _make_object_type(self, kind: str, columns: Mapping[str, str]) -> None:
        declared = "".join(f', "{column}" {type_name}' for column, type_name in columns.items())
        self._connection.execute("INSERT INTO object_map_type VALUES (?, ?)", (kind, kind))
        self._connection.execute(
            f"CREATE TABLE object_{kind} (ocel_id TEXT NOT NULL REFERENCES object (ocel_id),"
            f" ocel_time TIMESTAMP NOT NULL, ocel_changed_field TEXT{declared})"
        )
        self._connection.execute(
            f"CREATE UNIQUE INDEX object_{kind}_beginning ON object_{kind} (ocel_id) WHERE ocel_changed_field IS NULL"
        )
        names = ", ".join(f'"{column}"' for column in columns)
        places = ", ".join("?" * len(columns))
        filled = ", ".join(f'"{column}" = coalesce("{column}", excluded."{column}")' for column in columns)
        self._inserts[kind] = (
            f"INSERT INTO object_{kind} (ocel_id, ocel_time, {names}) VALUES (?, '{BEGINNING}', {places})"
            f" ON CONFLICT (ocel_id) WHERE ocel_changed_field IS NULL DO UPDATE SET {filled}"
        )
