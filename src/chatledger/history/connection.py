"""A synchronous way to read the ledger, for notebooks and exports: one connection that may only read.

It asks what `chatledger.adapters.ledger_reader` asks, a stretch of positions at a time, and so holds no transaction
between two of them and no more than one stretch in memory. Reading ends at the last event that was there when it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import psycopg
from psycopg import sql

from chatledger.adapters.ledger_reader import ROLE, filters_of
from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import RecordedRow, record_of_row
from chatledger.adapters.postgres import unreadable_url
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import ConfigurationError, OutsideUnavailable, UndecodableRecord
from chatledger.events import EVENTS
from chatledger.events.codec import decode_data, encode_data
from chatledger.history.rows import EventRow, parts_of
from chatledger.ports import LedgerEvent, Selection

POSITIONS_PER_READ = 5_000
"""About 5 MB of events; longer stretches are not faster."""
CONNECT_TIMEOUT_S = 10

_LEDGER = named_statements("chatledger.adapters", "ledger_reader.sql")
_HISTORY = named_statements("chatledger.history", "history.sql")
_TODAY = {event_class.type: event_class.version for event_class in EVENTS}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The selected rows up to and with position `end`: every event up to there was looked at."""

    end: int
    rows: Sequence[RecordedRow]


class LedgerConnection:
    """One connection to a ledger, with the rights of `chatledger_reader`. Not for several threads at a time."""

    def __init__(self, url: str, *, positions_per_read: int = POSITIONS_PER_READ) -> None:
        """Connect. Raises ConfigurationError for what the caller can mend, OutsideUnavailable for the rest."""
        self._positions_per_read = positions_per_read
        try:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"the ledger's database does not answer: {wrong}") from wrong
        except psycopg.ProgrammingError as wrong:
            raise unreadable_url(wrong) from wrong
        try:
            self._restrict()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._connection.close()

    def last_position(self) -> int:
        """The position of the newest event; 0 where there is none."""
        return int(self._fetch(_LEDGER["last_position"], {})[0][0])

    def bounded(self, selection: Selection) -> Selection:
        """Return the selection with an end: the last event that is there now, unless it ends before that."""
        last = self.last_position()
        until = last if selection.until_position is None else min(last, selection.until_position)
        return replace(selection, until_position=until)

    def stretches(self, selection: Selection) -> Iterator[Stretch]:
        """Yield what is selected, in the order of positions."""
        bounded = self.bounded(selection)
        after, until = bounded.after, bounded.until_position or 0
        query = _LEDGER["read" if selection.stream is None else "read_stream"]
        while after < until:
            end = until if selection.stream is not None else min(until, after + self._positions_per_read)
            rows = self._fetch(query, {**filters_of(selection), "after": after, "until_position": end})
            yield Stretch(end, [record_of_row(row) for row in rows])
            after = end

    def rows(self, query: str, parameters: Mapping[str, object]) -> list[RecordedRow]:
        """What a statement of history.sql finds that reads whole rows."""
        return [record_of_row(row) for row in self._fetch(_HISTORY[query], parameters)]

    def values(self, query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """What a statement of history.sql finds."""
        return self._fetch(_HISTORY[query], parameters)

    def _restrict(self) -> None:
        try:
            self._connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            self._connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(ROLE)))
            there = self._connection.execute(_HISTORY["ledger_is_there"]).fetchone()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as wrong:
            raise ConfigurationError(
                f"the database's user may not read a ledger here ({wrong}): name the database that has one, and"
                f" GRANT {ROLE} to the user"
            ) from wrong
        if there is None or not there[0]:
            raise ConfigurationError(
                "this database has no ledger: name the right one, or start `chatledger up` with CHATLEDGER_DATABASE"
                " set to it"
            )

    def _fetch(self, query: bytes, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        try:
            with self._connection.cursor(binary=True) as cursor:
                return cursor.execute(query, parameters).fetchall()
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"the ledger's database went away: {wrong}") from wrong


def decoded(kept: RecordedRow) -> LedgerEvent:
    """The event of a row, lifted to today's class."""
    return ledger_event(kept.record, position=kept.position, recorded_at=kept.recorded_at)


def plain_row(kept: RecordedRow) -> EventRow:
    """The row of an event as it was recorded; its data are decoded only where they have to be lifted."""
    record, metadata = kept.record, orjson.loads(kept.record.metadata)
    conversation, version, data = metadata["conversation"], metadata["schemaversion"], record.data
    if version < _TODAY.get(record.type, 0):
        try:
            data = encode_data(decode_data(record.type, version, data))
            version = _TODAY[record.type]
        except UndecodableRecord:
            # It does not fit its own schema: it is kept as it came, and shown as that.
            pass
    return EventRow(
        kept.position,
        kept.recorded_at,
        record.occurred_at,
        record.id,
        record.type,
        record.stream,
        record.version,
        *parts_of(conversation),
        conversation,
        metadata["correlationid"],
        metadata["causationid"],
        metadata["source"],
        version,
        record.topic,
        record.partition,
        record.source_offset,
        data.decode(),
    )
