"""The peers of the ledger: the library `eventsourcing` and emmett-postgresql, each with a database of its own.

They get the same events: the data and the context that a record of chatledger carries, as one JSON document each.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, Mapper, Notification, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.utils import get_topic
from psycopg.conninfo import conninfo_to_dict

from chatledger.adapters.ledger_records import ledger_record
from chatledger.ports import ConsumedRecord

EMMETT = Path(__file__).parent / "emmett"
EMMETT_INSTALLED = Path(__file__).parents[1] / "build" / "benchmarks-emmett"
INSTALL_TIMEOUT_S = 300


class Recorded:
    """A domain event of the library: its mapper puts whatever was stored into the object's attributes."""

    originator_id: str
    originator_version: int


class EventsourcingPeer:
    """`eventsourcing` with its Postgres recorder, as its application uses it: text ids, JSON, no cipher."""

    name = "eventsourcing"

    def __init__(self, url: str) -> None:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self._datastore = PostgresDatastore(
            parts["dbname"], parts["host"], parts["port"], parts["user"], parts["password"], originator_id_type="text"
        )
        self.recorder = PostgresApplicationRecorder(self._datastore)
        self.recorder.create_table()
        transcoder = JSONTranscoder()
        transcoder.register(DatetimeAsISO())
        self._mapper: Mapper[str] = Mapper(transcoder)
        self._versions: dict[str, int] = defaultdict(int)

    def prepared(self, records: Sequence[ConsumedRecord]) -> list[StoredEvent]:
        """What the library's mapper would make of these events; not a part of what is measured."""
        return [self._stored(record) for record in records]

    def append(self, events: Sequence[StoredEvent]) -> None:
        self.recorder.insert_events(events)

    def pages(self, events_per_page: int) -> Iterator[Sequence[Notification]]:
        """The whole log, a page at a time."""
        start = 1
        while page := self.recorder.select_notifications(start, events_per_page):
            yield page
            start = page[-1].id + 1

    def decoded(self, events: Sequence[StoredEvent]) -> list[Any]:
        """Domain event objects, made by the library's mapper."""
        return [self._mapper.to_domain_event(event) for event in events]

    def close(self) -> None:
        self._datastore.close()

    def _stored(self, record: ConsumedRecord) -> StoredEvent:
        kept = ledger_record(record)
        self._versions[kept.stream] += 1
        state = {
            "id": kept.id,
            "type": kept.type,
            "timestamp": {"_type_": "datetime_iso", "_data_": kept.occurred_at.isoformat()},
            "metadata": orjson.Fragment(kept.metadata),
            "data": orjson.Fragment(kept.data),
        }
        return StoredEvent(kept.stream, self._versions[kept.stream], get_topic(Recorded), orjson.dumps(state))


_PACKAGE = json.loads((EMMETT / "package.json").read_text())


class EmmettPeer:
    """emmett-postgresql in a Node process; it reads its batches from a file, and is told how many to append."""

    name = f"emmett-postgresql {_PACKAGE['dependencies']['@event-driven-io/emmett-postgresql']}"

    def __init__(self, url: str, batches: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(EMMETT_INSTALLED / "append.mjs"), url, str(batches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def append(self, batches: int) -> float:
        """Append the next batches; return the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{batches}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"emmett ended with exit code {self._process.wait()}")
        return line


def why_emmett_cannot_run() -> str | None:
    """Install emmett where it is missing; return what hinders that, None when it is there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "no emmett: node or npm is missing"
    EMMETT_INSTALLED.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "append.mjs"):
        shutil.copyfile(EMMETT / file, EMMETT_INSTALLED / file)
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    try:
        ended = subprocess.run(install, cwd=EMMETT_INSTALLED, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "no emmett: npm install took too long"
    return f"no emmett: npm install ended with {ended.returncode}" if ended.returncode else None


@contextmanager
def emmett_batches(batches: Sequence[Sequence[ConsumedRecord]]) -> Iterator[Path]:
    """A file with what emmett is to append."""
    with tempfile.TemporaryDirectory(prefix="chatledger-emmett-") as folder:
        file = Path(folder) / "batches.ndjson"
        with file.open("wb") as out:
            for batch in batches:
                kept = [ledger_record(record) for record in batch]
                events = [
                    {
                        "type": each.type,
                        "data": orjson.Fragment(each.data),
                        "metadata": orjson.Fragment(each.metadata),
                    }
                    for each in kept
                ]
                out.write(orjson.dumps(events) + b"\n")
        yield file
