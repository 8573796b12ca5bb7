"""`chatledger replay` in this process: what is selected, what comes out, and going on where a run ended."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import pytest

from chatledger import topics
from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger.adapters.ledger_rows import RecordedRow, row_line
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.events import UnknownEvent
from chatledger.ports import Selection
from chatledger.replay import fold, read_event_line, state_hash
from chatledger_cli.replay import run as replay_run
from chatledger_cli.replay.outputs import Nowhere
from chatledger_cli.replay.pace import Pace
from chatledger_cli.replay.run import Plan, Replay
from chatledger_cli.selection import Words, choose
from tests.support.dialog import message
from tests.support.ledger import Placed, history
from tests.support.postgres import fresh_database
from tests.support.replay import Run, append_placed, recorded_events, recorded_rows, runner

pytestmark = pytest.mark.postgres

PLACED: Placed = [*history("77"), *history("78", ["hi", "Baker Street 221b"])]
LATER: Placed = history("79")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str) -> Run:
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.delenv("CHATLEDGER_BROKER", raising=False)
    append_placed(postgres_url, PLACED, each=7)
    return runner()


def positions(output: bytes) -> list[int]:
    return [orjson.loads(line)["position"] for line in output.splitlines()]


def test_what_is_selected_is_what_comes_out(run, postgres_url):
    events = recorded_events(postgres_url)
    middle = events[10].recorded_at
    order = next(each.envelope.stream for each in events if each.envelope.stream.startswith("order-"))
    for words, selection in (
        ((), Selection()),
        (("--after-position", 3, "--until-position", 9), Selection(after=3, until_position=9)),
        (("--since", middle.isoformat()), Selection(since_time=middle)),
        (("--until", middle.isoformat()), Selection(until_time=middle)),
        (("--at", middle.isoformat()), Selection(until_time=middle)),
        (("--stream", order), Selection(stream=order)),
        (("--type", "order.placed", "--type", "phone.given"), Selection(types=("order.placed", "phone.given"))),
        (("--type", "order.*"), Selection(types=("order.*",))),
        (("--type", "*_given"), Selection(types=("*_given",))),
        (("--type", "order?placed"), Selection(types=("order?placed",))),
        (("--type", "order_placed"), Selection(types=("order_placed",))),
        (("--project", "order-form", "--type", "order.p*"), Selection(project="order-form", types=("order.p*",))),
        (("--project", "nobody"), Selection(project="nobody")),
    ):
        wanted = [event.position for event in events if selection.includes(event)]
        assert positions(run(*words).stdout.encode()) == wanted, words
    assert [each.position for each in events if Selection(types=("order.*",)).includes(each)]


def test_lines_are_as_recorded_and_are_lifted_by_who_reads_them(run, postgres_url):
    lines = run().stdout.encode().splitlines()
    assert lines == [row_line(row) for row in recorded_rows(postgres_url)]
    assert [read_event_line(line) for line in lines] == recorded_events(postgres_url)


def test_a_file_has_what_standard_output_has(run, tmp_path):
    out = tmp_path / "history.ndjson"
    summary = orjson.loads(run("--to-file", out, "--json").stdout)
    assert out.read_bytes() == run().stdout.encode()
    assert summary["events"] == summary["written"] == len(PLACED)
    assert (summary["from_position"], summary["to_position"]) == (1, positions(out.read_bytes())[-1])
    assert summary["target"] == f"file {out}"
    assert summary["state_hash"] == state_hash(fold(envelope for _, envelope in PLACED))
    again = run("--to-file", out)
    assert isinstance(again.exception, ConfigurationError)
    assert "is there already" in str(again.exception)
    assert "cannot be opened" in str(run("--to-file", tmp_path / "no" / "where").exception)


def test_without_a_fold_there_is_no_hash(run):
    assert orjson.loads(run("--json", "--no-fold").stdout)["state_hash"] is None
    assert "state hash" not in run("--no-fold").stderr


def test_a_replay_goes_on_where_it_ended_and_its_hash_is_that_of_the_whole(run, postgres_url, tmp_path):
    out, kept = tmp_path / "history.ndjson", tmp_path / "history.position"
    words = ("--since", "-1h", "--to-file", out, "--resume", kept, "--json")
    first = orjson.loads(run(*words).stdout)
    append_placed(postgres_url, LATER, first_offset=1000)
    with out.open("ab") as file:
        file.write(b'{"position": 99')  # as a kill -9 leaves it: a line that is torn, and not yet in the position
    second = orjson.loads(run(*words).stdout)
    whole = orjson.loads(run("--json").stdout)
    assert (second["events"], second["state_hash"]) == (whole["events"], whole["state_hash"])
    assert (second["written"], second["resumed_after"]) == (len(LATER), first["to_position"])
    assert out.read_bytes() == run().stdout.encode()
    third = orjson.loads(run(*words).stdout)
    assert (third["written"], third["state_hash"]) == (0, whole["state_hash"])


def test_a_full_disk_is_said_and_the_replay_goes_on_once_there_is_room(run, tmp_path, monkeypatch):
    monkeypatch.setattr(replay_run, "EVENTS_PER_HANDOVER", 5)
    whole, out = run().stdout.encode(), tmp_path / "history.ndjson"
    words = ("--to-file", out, "--resume", tmp_path / "kept")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        full = run(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(full.exception, OutsideUnavailable)
    assert "cannot be written: File too large" in str(full.exception)
    assert "give the same command again to go on" in full.stderr
    assert not out.read_bytes().endswith(b"\n")
    assert run(*words).exit_code == 0
    assert out.read_bytes() == whole


def test_standard_output_goes_on_as_well(run, postgres_url, tmp_path):
    first = run("--resume", tmp_path / "kept").stdout
    append_placed(postgres_url, LATER, first_offset=1000)
    assert first + run("--resume", tmp_path / "kept").stdout == run().stdout


def test_going_on_with_something_else_is_refused(run, tmp_path):
    out, kept = tmp_path / "history.ndjson", tmp_path / "history.position"
    run("--type", "order.*", "--to-file", out, "--resume", kept)
    for words, said in (
        (("--type", "invoice.*", "--to-file", out), "--type was order.* and is invoice.*"),
        (("--to-file", out), "--type was order.* and is not given"),
        (("--type", "order.*", "--project", "x", "--to-file", out), "--project was not given and is x"),
        (("--type", "order.*", "--to-file", tmp_path / "other"), "belongs to a replay to file"),
        (("--type", "order.*"), "belongs to a replay to file"),
    ):
        refused = run(*words, "--resume", kept)
        assert isinstance(refused.exception, ConfigurationError)
        assert said in str(refused.exception)
    assert orjson.loads(kept.read_bytes())["events"] == len(out.read_bytes().splitlines())


def test_a_ledger_that_is_another_one_is_told_apart(run, postgres_server, monkeypatch, tmp_path):
    words = ("--to-file", tmp_path / "history", "--resume", tmp_path / "kept")
    run(*words)
    with fresh_database(postgres_server) as other:
        append_placed(other, [*LATER, *PLACED])
        monkeypatch.setenv("CHATLEDGER_DATABASE", other)
        assert "filled from another ledger" in str(run(*words).exception)


def test_what_lies_where_position_and_output_should_be_is_told(run, tmp_path):
    out, kept = tmp_path / "history", tmp_path / "kept"
    words = ("--to-file", out, "--resume", kept)
    for damage in (b"", b"{}", b"[1]", b'{"format": 1, "selection": 5}', b"\xff"):
        kept.write_bytes(damage)
        assert "not a replay's position file" in str(run(*words).exception)
    kept.write_bytes(b'{"format": 2}')
    assert "another chatledger" in str(run(*words).exception)
    kept.unlink()
    run(*words)
    out.write_bytes(out.read_bytes()[:-30])
    assert "not as the replay left it" in str(run(*words).exception)
    out.unlink()
    assert "cannot be opened" in str(run(*words).exception)
    assert "cannot be written" in str(run("--resume", tmp_path / "no" / "where").exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to-topic", "a", "--to-file", "b"), "three places"),
        (("--to-table", "a"), "a table needs both"),
        (("--to-database", "postgresql:///x"), "a table needs both"),
        (("--to-table", "a", "--to-database", "postgresql:///x", "--resume", "f"), "leave --resume out"),
        (("--json", "--resume", "f"), "--resume needs events"),
        (("--speed", "fast"), "write 10x"),
        (("--speed", "0x"), "write 10x"),
        (("--gap-max", "5s"), "give --speed 1x"),
        (("--speed", "1x", "--gap-max", "soon"), "write 500ms"),
        (("--since", "soonish"), "is not a time"),
        (("--to-topic", "chat.inbound"), "live topic"),
        (("--to-topic", "chatledger-dialog-conversations-9-changelog"), "live topic"),
        (("--to-topic", "rehearsal"), "needs a broker"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(run, words, said):
    refused = run(*words)
    assert isinstance(refused.exception, ConfigurationError)
    assert said in str(refused.exception)


def test_events_that_this_code_does_not_know_are_kept_shown_and_counted(run, postgres_url):
    moon = UnknownEvent(type_name="moon.risen", schema_version=3, data={"phase": [1, 2**70]})
    newer = UnknownEvent(type_name="address.given", schema_version=9, data={"where": "there"})
    decided = next(each for topic, each in LATER if topic == topics.DIALOG)
    strangers = [
        (topics.INBOUND, replace(message("80", 1, "hi"), data=moon)),
        (topics.DIALOG, replace(decided, data=newer)),
    ]
    before = orjson.loads(run("--json").stdout)
    append_placed(postgres_url, strangers, first_offset=5000)
    replayed = run("--after-position", before["to_position"])
    said = "2 events of unknown types were passed over: address.given.v9 (1), moon.risen.v3 (1)"
    assert said in " ".join(replayed.stderr.split())
    assert [read_event_line(line).envelope for line in replayed.stdout.encode().splitlines()] == [
        envelope for _, envelope in strangers
    ]
    assert orjson.loads(run("--json").stdout)["passed_over"] == {"address.given.v9": 1, "moon.risen.v3": 1}


def test_a_table_is_a_copy_and_is_brought_up_to_date(run, postgres_url, postgres_server):
    with fresh_database(postgres_server) as theirs:
        words = ("--type", "*.*", "--to-database", theirs, "--to-table", "history_copy", "--json")
        first = orjson.loads(run(*words).stdout)
        assert (first["target"], first["written"]) == ("table public.history_copy", len(PLACED))
        assert rows_of(theirs, "history_copy") == rows_of(postgres_url, "ledger.events")
        append_placed(postgres_url, LATER, first_offset=1000)
        second = orjson.loads(run(*words).stdout)
        assert (second["written"], second["resumed_after"]) == (len(LATER), first["to_position"])
        assert second["state_hash"] == orjson.loads(run("--json").stdout)["state_hash"]
        assert rows_of(theirs, "history_copy") == rows_of(postgres_url, "ledger.events")
        refused = run(*words[2:])
        assert "the table public.history_copy belongs to a replay of another selection" in str(refused.exception)
        with psycopg.connect(theirs, autocommit=True) as connection:
            connection.execute("DROP TABLE history_copy")
        assert orjson.loads(run(*words[2:]).stdout)["written"] == len(PLACED) + len(LATER)


def test_a_table_that_is_somebody_elses_is_left_alone(run, postgres_url, postgres_server: EmbeddedPostgres):
    with fresh_database(postgres_server) as theirs:
        with psycopg.connect(theirs, autocommit=True) as connection:
            connection.execute("CREATE TABLE customers (id int)")
        for table, url, said in (
            ("customers", theirs, "was not made by a replay"),
            ("ledger.events", postgres_url, "belongs to chatledger"),
            ("history.events", postgres_url, "belongs to chatledger"),
            ("chatledger_replays", theirs, "belongs to chatledger"),
            ('x"; DROP TABLE customers; --', theirs, "no table's name"),
            ("nowhere.history", theirs, "refuses: schema"),
            ("fine", "mysql://x/y", "no Postgres URL"),
        ):
            refused = run("--to-database", url, "--to-table", table)
            assert isinstance(refused.exception, ConfigurationError), table
            assert said in str(refused.exception)


def rows_of(url: str, table: str) -> list[tuple[object, ...]]:
    columns = "position, id, stream, version, type, data, metadata, occurred_at, recorded_at, topic, partition"
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {columns}, source_offset FROM {table} ORDER BY position").fetchall()


async def test_events_are_handed_on_when_they_are_due(run, postgres_url, monkeypatch):
    rows, slept, handed = await asyncio.to_thread(recorded_rows, postgres_url), [], []
    time_s = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal time_s
        slept.append(seconds)
        time_s += seconds + 0.001  # no sleep ends on the dot

    async def write(_: object, batch: list[RecordedRow]) -> None:
        handed.append((time_s - 100.0, [row.position for row in batch]))

    monkeypatch.setattr(Nowhere, "write", write)
    plan = Plan(chosen=choose(Words(), datetime.now(UTC)), pace=Pace(speed=0.5), show_bar=False)
    await Replay(plan, clock=lambda: time_s, sleep=sleep).run()
    appended = sorted({row.recorded_at for row in rows})
    assert [positions for _, positions in handed] == [
        [row.position for row in rows if row.recorded_at == at] for at in appended
    ]
    for (at_s, _), at in zip(handed, appended, strict=True):
        # Each is late by at most what one sleep was too long, however many there were.
        assert 0 <= at_s - (at - appended[0]).total_seconds() / 0.5 < 0.0021
    assert len(slept) == len(appended) - 1
