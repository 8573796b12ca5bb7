"""The recorders of the library `eventsourcing`, with the two things that a batch of records needs beside them.

`insert_events(..., trackings=[...])` saves the positions of several partitions in the transaction of the events, and
`existing` asks for many streams at once. A position only ever grows, in any steps: the library refuses one that is
not beyond the last with an IntegrityError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import ProcessRecorder, StoredEvent, Tracking
from eventsourcing.popo import POPOFactory, POPOProcessRecorder
from eventsourcing.postgres import PostgresFactory, PostgresProcessRecorder
from eventsourcing.utils import Environment, EnvType
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

DATABASE_URL = "DATABASE_URL"
"""The key of the database's URL in the environment that the factory is given."""


class BatchRecorder(ProcessRecorder):
    """A recorder that can tell which streams exist."""

    def existing(self, streams: Sequence[str]) -> set[str]:
        """Return those of `streams` that have events."""
        return {stream for stream in streams if self.select_events(stream, limit=1)}


class MemoryRecorder(POPOProcessRecorder, BatchRecorder):
    """In this process's memory."""

    def _assert_uniqueness(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        super()._assert_uniqueness(stored_events, **kwargs)
        for tracking in kwargs.get("trackings", ()):
            self._assert_tracking_uniqueness(tracking)

    def _update_table(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        for tracking in kwargs.get("trackings", ()):
            self._insert_tracking(tracking)
        return super()._update_table(stored_events, **kwargs)


class PostgresRecorder(PostgresProcessRecorder, BatchRecorder):
    """In Postgres."""

    def existing(self, streams: Sequence[str]) -> set[str]:
        """Return those of `streams` that have events, by one query."""
        query = SQL("SELECT originator_id FROM {}.{} WHERE originator_id = ANY(%s) AND originator_version = 1").format(
            Identifier(self.datastore.schema), Identifier(self.events_table_name)
        )
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(query, (list(streams),), prepare=True)
            return {row["originator_id"] for row in cursor.fetchall()}

    def _insert_events(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        trackings: Sequence[Tracking] = kwargs.get("trackings", ())
        # In one order everywhere, so that two workers that hold the same partitions for a moment cannot deadlock.
        for tracking in sorted(trackings, key=lambda each: each.application_name):
            self._insert_tracking(curs, tracking=tracking)
        super()._insert_events(curs, stored_events, **kwargs)


class MemoryFactory(POPOFactory):
    """Makes a memory recorder."""

    def process_recorder(self) -> ProcessRecorder:
        """Return an empty one."""
        return MemoryRecorder()


class UrlFactory(PostgresFactory):
    """Makes a Postgres recorder for a database that is given by its whole URL, with whatever libpq understands."""

    process_recorder_class = PostgresRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self.datastore.pool.kwargs = {**conninfo_to_dict(self.env[DATABASE_URL]), "row_factory": dict_row}
