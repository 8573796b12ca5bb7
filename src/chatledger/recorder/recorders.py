"""The library's recorders over `ledger.events`. Where a projection has come to is kept in the library's own table.

Every writer takes the ledger's lock first, so a subscription that reads on from a position misses nothing. Tables of
the library's own, for tracking and snapshots, are made in the schema that POSTGRES_SCHEMA names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from eventsourcing.persistence import InterfaceError, Notification, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresProcessRecorder
from eventsourcing.utils import retry
from psycopg import Cursor
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow

from chatledger.adapters.postgres import migrate
from chatledger.adapters.sql_files import named_statements
from chatledger.recorder.stored_events import TOPIC, originator_of, row_of, state_of_row

CHANNEL = "ledger_events"
"""What the ledger notifies on after each append."""
POSITION_MAX = 2**63 - 1
VERSION_MIN, VERSION_MAX = -(2**31), 2**31 - 1

_QUERIES = named_statements("chatledger.recorder", "recorder.sql")


class LedgerApplicationRecorder(PostgresApplicationRecorder):
    """Records and reads `ledger.events`; notification ids are positions."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.channel_name = CHANNEL
        # The library's statements would make an event table of its own; only that of positions is wanted.
        tracking: str | None = getattr(self, "tracking_table_name", None)
        self.sql_create_statements = [
            each for each in self.sql_create_statements if tracking is not None and tracking in each.as_string()
        ]
        self._as_uuid = self.datastore.originator_id_type == "uuid"

    def create_table(self) -> None:
        """Make the ledger where it is missing, and the library's table of positions."""
        wanted = {name: value for name, value in self._connection_arguments().items() if value}
        with ThreadPoolExecutor(max_workers=1) as thread:
            url = make_conninfo(**wanted)
            thread.submit(asyncio.run, migrate(url, schema="ledger", package="chatledger_ledger")).result()
        super().create_table()

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return the decided events of one stream."""
        bounds = {
            "stream": str(originator_id),
            "gt": VERSION_MIN if gt is None else gt,
            "lte": VERSION_MAX if lte is None else lte,
            "limit": limit,
        }
        return [
            StoredEvent(
                originator_id=originator_id,
                originator_version=row["version"],
                topic=row["type"],
                state=state_of_row(row),
            )
            for row in self._rows("stream_backwards" if desc else "stream", bounds)
        ]

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return events of all streams in the order of positions, those of chatledger as well."""
        first = 0 if start is None else start if inclusive_of_start else start + 1
        bounds = {
            "start": first,
            "stop": POSITION_MAX if stop is None else stop,
            "topics": list(topics) or None,
            "limit": limit,
        }
        return [
            Notification(
                id=row["position"],
                originator_id=originator_of(row["stream"], as_uuid=self._as_uuid),
                originator_version=row["version"] or 0,
                topic=row["type"],
                state=state_of_row(row),
            )
            for row in self._rows("notifications", bounds)
        ]

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def max_notification_id(self) -> int | None:
        """Return the position of the newest event, None where there is none."""
        newest: int | None = self._rows("last", {})[0]["max"]
        return newest

    def _insert_stored_events(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any) -> None:
        curs.execute(f"SET LOCAL lock_timeout = '{int(self.datastore.lock_timeout)}s'".encode())
        curs.execute(_QUERIES["lock"])
        rows = [row_of(each) for each in stored_events]
        columns = {
            "topic": TOPIC,
            "ids": [row.id for row in rows],
            "streams": [row.stream for row in rows],
            "versions": [row.version for row in rows],
            "types": [row.type for row in rows],
            "data": [row.data for row in rows],
            "metadata": [row.metadata for row in rows],
            "occurred_at": [row.occurred_at for row in rows],
        }
        curs.execute(_QUERIES["insert"], columns)

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[DictRow]:
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(_QUERIES[name], parameters)
            return cursor.fetchall()

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = self.datastore.pool.kwargs
        assert isinstance(arguments, dict)
        return {name: value for name, value in arguments.items() if name != "row_factory"}


class LedgerAggregateRecorder(LedgerApplicationRecorder):
    """The same for who asks for no positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Record events in one transaction."""
        super().insert_events(stored_events, **kwargs)
        return None


class LedgerProcessRecorder(LedgerApplicationRecorder, PostgresProcessRecorder):
    """The same, which keeps in the same transaction how far another application's events were processed."""
