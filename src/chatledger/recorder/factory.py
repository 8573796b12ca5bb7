"""What the library makes its recorders with, where PERSISTENCE_MODULE is `chatledger.recorder`."""

from __future__ import annotations

from typing import Any

from eventsourcing.persistence import AggregateRecorder, Mapper, Transcoder
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment, EnvType
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from chatledger.recorder.recorders import LedgerAggregateRecorder, LedgerApplicationRecorder, LedgerProcessRecorder
from chatledger.recorder.stored_events import LedgerMapper

DATABASE = "CHATLEDGER_DATABASE"
_ASKED_FOR = ("POSTGRES_DBNAME", "POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD")


class LedgerFactory(PostgresFactory):
    """Makes recorders over the ledger in CHATLEDGER_DATABASE, a URL; where that is not set, the library's POSTGRES_
    variables name the database."""

    application_recorder_class = LedgerApplicationRecorder
    process_recorder_class = LedgerProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        given = env if isinstance(env, Environment) else Environment(env=env)
        url = given.get(DATABASE)
        if url is not None:
            for name in _ASKED_FOR:
                # The library asks for each of these; the URL says what there is to say.
                given.setdefault(name, "")
        super().__init__(given)
        if url is not None:
            self.datastore.pool.kwargs = {**conninfo_to_dict(url), "row_factory": dict_row}

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Return a recorder of events over the ledger; snapshots are no history, and have the library's own table."""
        if purpose != "events":
            return super().aggregate_recorder(purpose)
        recorder = LedgerAggregateRecorder(self.datastore)
        if self.env_create_table():
            recorder.create_table()
        return recorder

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[Any]] | None = None
    ) -> Mapper[Any]:
        """Return the mapper that reads chatledger's own events too, unless another is asked for."""
        return super().mapper(transcoder, mapper_class or (None if self.env.get(self.MAPPER_TOPIC) else LedgerMapper))
