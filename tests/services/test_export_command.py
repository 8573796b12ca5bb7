"""`chatledger export` as an analyst types it, and the library without its extra."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

import chatledger.history
from chatledger.errors import ConfigurationError
from chatledger_cli import export_command
from tests.support.exported import both_flows, record, recorded_on

Run = Callable[..., Any]

PLACED = both_flows()
YESTERDAY, TODAY = datetime(2026, 11, 20, 12, tzinfo=UTC), datetime(2026, 11, 21, 12, tzinfo=UTC)
CUT = 20


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    export_command.register(app)
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def ledger(run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    record(postgres_url, PLACED)
    recorded_on(postgres_url, [(YESTERDAY, CUT), (TODAY, len(PLACED))])
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    return postgres_url


pytestmark = pytest.mark.postgres


def test_events_go_to_standard_output_unless_told_otherwise(run, ledger):
    done = run("--format", "ndjson")
    assert done.exit_code == 0, done.output
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines] == [envelope.id for _, envelope in PLACED]
    assert done.stderr.startswith(f"{len(PLACED)} rows, in ")
    assert run("--out", "-").stdout == done.stdout


@pytest.mark.parametrize(("what", "rows"), [("events", len(PLACED)), ("conversations", 3), ("messages", None)])
def test_each_table_goes_into_each_format(run, ledger, what, rows):
    counted = []
    for form in ("ndjson", "csv", "parquet"):
        done = run(what, "--format", form, "--out", f"{what}.{form}", "--json")
        assert done.exit_code == 0, done.output
        summary = orjson.loads(done.stdout)
        assert set(summary) == {"rows", "files", "bytes", "seconds"}
        out = Path(f"{what}.{form}")
        files = [path for path in out.rglob("*") if path.is_file()] or [out]
        assert (summary["files"], summary["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
        counted.append(summary["rows"])
    lines = Path(f"{what}.ndjson").read_bytes().splitlines()
    read = list(csv.DictReader(io.StringIO(Path(f"{what}.csv").read_text(), newline="")))
    parquet = pl.read_parquet(Path(f"{what}.parquet"))
    assert counted == [len(lines), len(read), parquet.height]
    assert rows in (None, counted[0])


def test_ocel_takes_the_whole(run, ledger):
    done = run("--format", "ocel", "--out", "history.sqlite", "--json")
    assert orjson.loads(done.stdout)["rows"] == len(PLACED)
    with closing(sqlite3.connect("history.sqlite")) as log:
        assert log.execute("SELECT count(*) FROM event").fetchone() == (len(PLACED),)


def test_a_part_of_history_is_chosen(run, ledger):
    def count(*words: str) -> int:
        return len(run(*words).stdout.splitlines())

    assert count("--until", "2026-11-20T23:00Z") == CUT
    assert count("--since", "2026-11-21T00:00Z") == len(PLACED) - CUT
    assert count("--type", "order.placed", "--type", "invoice.*") == sum(
        envelope.data.type == "order.placed" or envelope.data.type.startswith("invoice.") for _, envelope in PLACED
    )
    assert count("--project", "nobody") == 0
    assert count("conversations", "--project", "store") == 1
    assert count("conversations", "--until", "2026-11-20T23:00Z") == 1


def test_with_rows_on_standard_output_the_summary_is_beside_them(run, ledger):
    done = run("--format", "csv", "--json")
    summary = orjson.loads(done.stderr)
    assert (summary["rows"], summary["files"]) == (len(PLACED), 0)
    assert summary["bytes"] == len(done.stdout_bytes)


def test_one_key_gives_the_same_pseudonyms_in_every_table(run, ledger, monkeypatch):
    Path("key").write_bytes(b"k" * 32)
    events = run("--anonymise", "--anonymise-key", "key").stdout
    monkeypatch.setenv("CHATLEDGER_ANONYMISE_KEY", "key")
    messages = run("messages", "--anonymise").stdout
    clients = [{orjson.loads(line)["client_id"] for line in text.splitlines()} for text in (events, messages)]
    assert clients[1] <= clients[0]
    assert all(client is None or client.startswith("anon-") for client in clients[0])
    assert "Baker Street" not in events + messages
    assert "Baker Street" in run().stdout, "a key in the environment alone changes nothing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "parquet"), "--out history"),
        (("--format", "ocel"), "--out history.sqlite"),
        (("messages", "--format", "ocel", "--out", "x"), "leave out messages"),
        (("--spreadsheet",), "--format csv"),
        (("messages", "--type", "order.placed"), "--type is about events"),
        (("--anonymise", "--anonymise-key", "missing"), "head -c 32"),
        (("--anonymise-key", "missing"), "add --anonymise"),
        (("--since", "soonish"), "is not a time"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, ledger, words, said):
    done = run(*words)
    assert isinstance(done.exception, ConfigurationError)
    assert said in str(done.exception)
    assert not Path("x").exists()


def test_a_file_is_replaced_only_with_force(run, ledger):
    Path("events").write_text("mine")
    assert isinstance(run("--out", "events").exception, ConfigurationError)
    assert Path("events").read_text() == "mine"
    assert run("--out", "events", "--force").exit_code == 0
    assert len(Path("events").read_bytes().splitlines()) == len(PLACED)


def test_a_reader_that_has_enough_is_no_error(ledger):
    # The reader is gone long before the first row comes.
    command = f"{sys.executable} -m chatledger_cli.main export | true"
    environment = {**os.environ, "CHATLEDGER_DATABASE": ledger}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_teaches(run):
    said = " ".join(run("--help").output.split())
    assert "Example: chatledger export messages --format parquet" in said
    assert "docs/exports.md" in said


def test_without_the_extra_all_works_but_arrow(ledger, monkeypatch, run):
    program = "import sys; sys.modules['pyarrow'] = None; import chatledger.history, chatledger_cli.export_command"
    subprocess.run([sys.executable, "-c", program], check=True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with chatledger.history.open(ledger) as history:
        assert len(list(history.events())) == len(list(history.events().rows())) == len(PLACED)
        for wanted in (history.events().to_arrow, history.messages().to_pandas, history.conversations().to_polars):
            with pytest.raises(ConfigurationError, match=r"pip install 'chatledger\[analytics\]'"):
                wanted()
    refused = run("--format", "parquet", "--out", "events")
    assert isinstance(refused.exception, ConfigurationError)
    assert not Path("events").exists()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_missing_table_library_is_named(ledger, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with chatledger.history.open(ledger) as history:
        wanted = getattr(history.events(), f"to_{library}")
        with pytest.raises(ConfigurationError, match=f"{library} is missing: pip install '{library}'"):
            wanted()
