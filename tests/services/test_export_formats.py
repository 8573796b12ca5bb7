"""History as files: each format holds what the ledger holds, and is complete or not there."""

from __future__ import annotations

import csv
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import psycopg
import pytest

import chatledger.history
from chatledger import topics
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.events import Envelope, Event, dialog
from chatledger.events.ids import derive_id
from chatledger.history import History, arrow_parquet
from chatledger.history.exports import Exported, Format, export_ocel, export_rows, export_to
from tests.support.exported import both_flows, record, recorded_on
from tests.support.postgres import fresh_database
from tests.unit.event_examples import example_envelope

pytestmark = pytest.mark.postgres

PLACED = both_flows()
STOPS_WHEN_IT_READS = """
import sys
from chatledger.history import connection
from chatledger_cli.main import main

def stretches(self, selection):
    print("reading", flush=True)
    sys.stdin.read()

connection.LedgerConnection.stretches = stretches
main()
"""
DAYS = [(datetime(2026, 11, 19, 12, tzinfo=UTC) + timedelta(days=day), 15 * (day + 1)) for day in range(5)]


@pytest.fixture(scope="module")
def ledger(postgres_server) -> Iterator[str]:
    """Both flows, recorded on five days."""
    with fresh_database(postgres_server) as url:
        record(url, PLACED)
        recorded_on(url, DAYS)
        yield url


@pytest.fixture
def history(ledger: str) -> Iterator[History]:
    with chatledger.history.open(ledger) as opened:
        yield opened


def sql(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def tables(history: History) -> dict[str, Any]:
    return {
        "events": history.events(),
        "conversations": history.conversations(),
        "messages": history.messages(),
    }


@pytest.mark.parametrize("name", ["events", "conversations", "messages"])
def test_duckdb_and_polars_read_the_parquet_folder(history, tmp_path, name):
    query, folder = tables(history)[name], tmp_path / name
    done = export_rows(query, Format.PARQUET, folder)
    files = sorted(folder.rglob("*.parquet"))
    rows = [row._asdict() for row in query.rows()]
    assert done == Exported(rows=len(rows), files=len(files), bytes=sum(map(size, files)), seconds=done.seconds)
    assert all(file.parent.name.startswith("date=2026-11-") for file in files)
    by_polars = pl.read_parquet(folder, hive_partitioning=True)
    assert list(by_polars.columns) == [*query.columns, "date"]
    day = arrow_parquet.PARTITION_COLUMN[query.row_class]
    key = query.columns[0]
    assert by_polars.sort(key).drop("date").to_dicts() == sorted(rows, key=lambda row: row[key])
    assert {row["date"] for row in by_polars.to_dicts()} == {row[day].date() for row in rows}
    found = by_duckdb(f"SELECT date, count(*) FROM '{folder}/**/*.parquet' GROUP BY date ORDER BY date")
    assert dict(found) == dict(by_polars.group_by("date").len().iter_rows())


def test_parquet_has_the_values_of_the_ledger(history, ledger, tmp_path):
    folder = history.events().to_parquet(tmp_path / "events")
    ours = by_duckdb(
        "SELECT position, id, type, stream, version, epoch_us(occurred_at), epoch_us(recorded_at), conversation,"
        f" data FROM '{folder}/**/*.parquet' ORDER BY position"
    )
    theirs = sql(
        ledger,
        "SELECT position, id::text, type, stream, version, (extract(epoch FROM occurred_at) * 1000000)::bigint,"
        " (extract(epoch FROM recorded_at) * 1000000)::bigint, metadata ->> 'conversation', data"
        " FROM ledger.events ORDER BY position",
    )
    assert [(*row[:-1], orjson.loads(row[-1])) for row in ours] == theirs
    one_day = by_duckdb(f"SELECT count(*) FROM '{folder}/**/*.parquet' WHERE date = '2026-11-20'")
    assert one_day == sql(ledger, "SELECT count(*) FROM ledger.events WHERE recorded_at::date = '2026-11-20'")


def test_a_day_has_several_parts_when_it_is_long(history, tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_parquet, "ROWS_PER_PART", 4)
    monkeypatch.setattr(arrow_parquet, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(history._connection, "_positions_per_read", 2)
    folder = history.events().to_parquet(tmp_path / "events")
    names = sorted(path.name for path in (folder / "date=2026-11-19").iterdir())
    assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet", "part-00003.parquet"]
    assert pl.read_parquet(folder)["position"].sort().to_list() == list(range(1, len(PLACED) + 1))


def test_an_empty_table_is_a_folder_that_can_be_read(history, tmp_path):
    folder = history.events(types=["no.such"]).to_parquet(tmp_path / "events")
    assert pl.read_parquet(folder, hive_partitioning=True).height == 0
    assert by_duckdb(f"SELECT count(*) FROM '{folder}/**/*.parquet'") == [(0,)]


def test_ndjson_has_one_row_a_line(history, tmp_path):
    for name, query in tables(history).items():
        export_rows(query, Format.NDJSON, tmp_path / name)
        lines = [orjson.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]
        assert [tuple(line) for line in lines] == [query.columns] * len(lines)
        rows = [row._asdict() for row in query.rows()]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            for column, value in row.items():
                if isinstance(value, datetime):
                    assert line[column].endswith("Z")
                    assert datetime.fromisoformat(line[column]) == value
                else:
                    assert line[column] == (orjson.loads(value) if column in ("data", "state") else value)
    assert pl.read_ndjson(tmp_path / "messages").height == len(list(history.messages()))


def test_csv_is_as_rfc_4180_has_it(history, tmp_path):
    for name, query in tables(history).items():
        export_rows(query, Format.CSV, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        head, *lines = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        rows = [row._asdict() for row in query.rows()]
        assert tuple(head) == query.columns
        assert [dict(zip(head, line, strict=True)) for line in lines] == [
            {column: in_csv(value) for column, value in row.items()} for row in rows
        ]
        assert data.endswith(b"\r\n")
    assert duckdb.read_csv(str(tmp_path / "events")).shape == (len(PLACED), 19)


def test_csv_quotes_what_clients_write(postgres_url):
    odd = 'a "quote", a comma,\r\na line; = and ₹'
    texts = [odd, "=1+1", "+91", "-1", "@x", "\tx", "1+1", ""]
    events = [dialog.ReplyRequested(channel="c", client_id="7", text=text, reply_to={}) for text in texts]
    record(postgres_url, [(topics.DIALOG, numbered(event, at)) for at, event in enumerate(events)])
    with chatledger.history.open(postgres_url) as opened:
        assert texts_of(written(opened, spreadsheet=False)) == texts
        safe = texts_of(written(opened, spreadsheet=True))
        assert safe == [odd, "'=1+1", "'+91", "'-1", "'@x", "'\tx", "1+1", ""]


def test_nothing_is_replaced_unasked(history, tmp_path):
    file, folder = tmp_path / "events.csv", tmp_path / "events"
    file.write_text("mine")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for kind, out in ((Format.CSV, file), (Format.PARQUET, folder)):
        with pytest.raises(ConfigurationError, match="--force"):
            export_rows(history.events(), kind, out)
    with pytest.raises(ConfigurationError, match="folder"):
        export_rows(history.events(), Format.CSV, folder, force=True)
    with pytest.raises(ConfigurationError, match="is a file"):
        export_rows(history.events(), Format.PARQUET, file, force=True)
    with pytest.raises(ConfigurationError, match=r"holds 'mine\.txt', which is of no export"):
        export_rows(history.events(), Format.PARQUET, folder, force=True)
    assert (folder / "mine.txt").read_text() == file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "events.csv"]


def test_an_earlier_export_is_replaced_when_asked(history, tmp_path):
    folder, file = tmp_path / "new" / "events", tmp_path / "events.ndjson"
    folder.mkdir(parents=True)
    for position in (40, 3):
        export_rows(history.events(until_position=position), Format.PARQUET, folder, force=True)
        assert pl.read_parquet(folder).height == position
        export_rows(history.events(until_position=position), Format.NDJSON, file, force=True)
        assert len(file.read_bytes().splitlines()) == position
    assert not list(tmp_path.rglob("*partial*"))


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("name", ["events", "conversations", "messages"])
def test_progress_goes_on_until_the_last_position(history, tmp_path, monkeypatch, name, format):
    monkeypatch.setattr(history._connection, "_positions_per_read", 10)
    reached: list[int] = []
    query = tables(history)[name]
    if format is Format.OCEL:
        export_ocel(history.events(), tmp_path / "out", progress=reached.append)
    else:
        export_rows(query, format, tmp_path / "out", progress=reached.append)
    assert reached == sorted(reached)
    assert reached[-1] == history.last_position()


@pytest.mark.parametrize("format", list(Format))
def test_what_fails_leaves_nothing(history, tmp_path, monkeypatch, format):
    out = tmp_path / "out"

    def broken(*given: object, **more: object) -> Any:
        raise OutsideUnavailable("the ledger's database went away")

    query = history.events()
    monkeypatch.setattr(history._connection, "_positions_per_read", 10)
    whole = history._connection._fetch
    answers = iter([whole, whole, whole])
    monkeypatch.setattr(history._connection, "_fetch", lambda *given: next(answers, broken)(*given))
    export = export_ocel if format is Format.OCEL else partial(export_rows, format=format)
    with pytest.raises(OutsideUnavailable, match="went away"):
        export(query, out=out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", list(Format))
def test_a_full_disk_is_said_and_leaves_nothing(ledger, tmp_path, format):
    # No file may become larger than this: to a program it looks as a full disk does.
    done = exporting(ledger, tmp_path, format, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert said.startswith("error: ")
    assert "could not be written" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("format", [Format.PARQUET, Format.CSV, Format.OCEL])
def test_a_stopped_export_leaves_nothing_that_looks_complete(ledger, tmp_path, format, sign, code):
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_WHEN_IT_READS, *command(tmp_path, format)[3:]],
        env=environment(ledger),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"reading\n"
    assert [path.name.startswith(".out.partial-") for path in tmp_path.iterdir()] == [True]
    process.send_signal(sign)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert not (tmp_path / "out").exists()
    if sign is not signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def test_standard_output_that_is_full_is_an_error_of_ours(history):
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OutsideUnavailable, match="No space left"),
    ):
        export_to(history.events(), Format.CSV, full)


def by_duckdb(query: str) -> list[tuple[Any, ...]]:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


def size(path: Path) -> int:
    return path.stat().st_size


def in_csv(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        "" if value is None else value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
    )


def numbered(event: Event, number: int) -> Envelope:
    return replace(example_envelope(event), id=derive_id("csv", number), stream_version=number + 1)


def written(opened: History, *, spreadsheet: bool) -> bytes:
    out = io.BytesIO()
    export_to(opened.messages(), Format.CSV, out, spreadsheet=spreadsheet)
    return out.getvalue()


def texts_of(data: bytes) -> list[str]:
    return [row["text"] for row in csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True)]


def command(folder: Path, format: Format) -> list[str]:
    return [sys.executable, "-m", "chatledger_cli.main", "export", "--format", format, "--out", str(folder / "out")]


def environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    return {**kept, "CHATLEDGER_DATABASE": url}


def exporting(url: str, folder: Path, format: Format, preexec: Any = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(folder, format), env=environment(url), capture_output=True, check=False, timeout=60, preexec_fn=preexec
    )
