"""The history commands as an operator types them, over a ledger in Postgres."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import typer
from psycopg import sql
from typer.testing import CliRunner

from chatledger import topics
from chatledger.conversation import Status, encode_state
from chatledger.errors import BrokerUnavailable, ChatledgerError, ConfigurationError
from chatledger.events.letters import RecordDeadLettered
from chatledger.replay import fold, read_event_line, state_hash
from chatledger_cli import dead, rebuild_command, replay_command, time_travel, verify_command
from chatledger_cli.moments import read_moment
from chatledger_ledger.letters import original_record
from tests.support.ledger import Placed, as_records, conversation_of, open_ledger
from tests.support.ledger import history as history_of

Run = Callable[..., Any]

PLACED: Placed = [*history_of("77"), *history_of("78", ["hi", "Baker Street 221b"])]
STATES = fold(envelope for _, envelope in PLACED)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    for module in (time_travel, replay_command, rebuild_command, verify_command):
        module.register(app)
    dead.register(app)
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def recorded_twice(run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """A ledger recorded in two transactions; returns the time of the first."""

    async def record() -> datetime:
        async with open_ledger(postgres_url) as ledger:
            cut = next(at for at, (_, each) in enumerate(PLACED) if each.stream_version == 5)
            await ledger.append(as_records(PLACED[:cut]))
            first = [event async for event in ledger.read()][-1].recorded_at
            await ledger.append(as_records(PLACED, first_offset=100))
            return first

    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    return asyncio.run(record())


pytestmark = pytest.mark.postgres


def test_state_shows_a_conversation(run, recorded_twice):
    shown = run("state", conversation_of("77"))
    assert shown.exit_code == 0, shown.output
    assert "status         COMPLETED" in shown.stdout
    assert "Baker Street 221b" in shown.stdout
    as_json = run("state", conversation_of("77"), "--json")
    assert as_json.stdout.encode() == encode_state(STATES[conversation_of("77")]) + b"\n"


def test_state_shows_what_was_known_then(run, recorded_twice):
    for words in (("--at", recorded_twice.isoformat()), ("--position", "6")):
        then = orjson.loads(run("state", conversation_of("77"), *words, "--json").stdout)
        assert then["status"] != Status.COMPLETED
        assert then["version"] < STATES[conversation_of("77")].version
    assert orjson.loads(run("state", conversation_of("77"), "--at", "-0s", "--json").stdout)["status"] == "COMPLETED"
    before = run("state", conversation_of("77"), "--at", "-10m")
    assert before.exit_code == 0
    assert "nothing was known then" in before.stderr
    assert "status         INITIAL" in before.stdout


def test_state_of_a_stranger_suggests_who_is_there(run, recorded_twice):
    for typed in ("77", "order-form/chat2desk/7", "order-fom/chat2desk/77"):
        asked = run("state", typed)
        assert isinstance(asked.exception, ConfigurationError)
        assert "did you mean" in str(asked.exception)
        assert conversation_of("77") in str(asked.exception)
    assert "such as order-form/" in str(run("state", "zzz").exception)


@pytest.mark.parametrize("words", [("--at", "soonish"), ("--at", "-1h", "--position", "3")])
def test_a_moment_that_is_none_is_refused(run, words):
    assert isinstance(run("state", "a/b/c", *words).exception, ConfigurationError)


def test_moments_are_read_as_they_are_written(monkeypatch):
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert read_moment("-10m", now) == now - timedelta(minutes=10)
    assert read_moment("2026-11-21T10:00:00+02:00", now) == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert read_moment("2026-11-21T10:00Z", now) == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert read_moment("2026-11-21 10:00", now) == datetime(2026, 11, 21, 10).astimezone(UTC)
    assert read_moment("2026-11-21", now) == datetime(2026, 11, 21).astimezone(UTC)


def test_replay_prints_history_as_lines(run, recorded_twice):
    replayed = run("replay")
    events = [read_event_line(line) for line in replayed.stdout.encode().splitlines()]
    assert [event.envelope for event in events] == [envelope for _, envelope in PLACED]
    assert replayed.stderr.endswith(f"state hash {state_hash(STATES)}\n")


def test_replay_as_json_ends_with_the_hash(run, recorded_twice):
    summary = orjson.loads(run("replay", "--json").stdout)
    assert list(summary)[:3] == ["events", "seconds", "state_hash"]
    assert (summary["events"], summary["state_hash"]) == (len(PLACED), state_hash(STATES))
    lines = run("replay", "--json", "--events").stdout.splitlines()
    assert len(lines) == len(PLACED) + 1
    assert orjson.loads(lines[-1])["state_hash"] == state_hash(STATES)
    then = orjson.loads(run("replay", "--json", "--at", recorded_twice.isoformat()).stdout)
    assert then["events"] < len(PLACED)
    assert orjson.loads(run("replay", "--json", "--until-position", "3").stdout)["events"] == 3


@pytest.mark.parametrize("topic", [plan.name for plan in topics.PLANS])
def test_replay_never_goes_to_a_live_topic(run, topic):
    refused = run("replay", "--to-topic", topic)
    assert isinstance(refused.exception, ConfigurationError)
    assert "live topic" in str(refused.exception)


def test_verify_says_so_and_ends_with_one_on_a_violation(run, recorded_twice, tmp_path):
    clean = run("verify")
    assert clean.exit_code == 0, clean.output
    assert "no violation" in clean.stdout
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_text("\n".join([PLACED[0][1].id, "0c0ffee0-0000-5000-8000-000000000000"]))
    broken = run("verify", "--acknowledged", str(acknowledged), "--json")
    assert broken.exit_code == 1
    report = orjson.loads(broken.stdout)
    assert report["violations"] == 1
    assert [each["name"] for each in report["invariants"]] == ["I1", "I2", "I4", "I5", "I6", "I7", "I8"]
    in_words = run("verify", "--acknowledged", str(acknowledged)).stdout
    assert "0c0ffee0" in in_words
    assert "I1: see that the recorder runs" in in_words
    assert set(verify_command.WHAT_TO_DO) == {each["name"] for each in report["invariants"]}


@pytest.mark.parametrize(
    "words", [("state", "a/b/c"), ("replay",), ("verify",), ("rebuild", "dialog")], ids=lambda words: words[0]
)
def test_where_there_is_no_ledger_it_is_said_what_to_do(run, words):
    refused = run(*words)
    assert isinstance(refused.exception, ChatledgerError)
    assert "CHATLEDGER_" in str(refused.exception)


def test_a_database_without_a_ledger_is_told_apart(run, postgres_url, monkeypatch):
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    assert "no ledger" in str(run("verify").exception)
    assert "no ledger" in str(run("replay").exception)


@pytest.mark.parametrize("words", [("state", "a/b/c"), ("replay",), ("verify",)], ids=lambda words: words[0])
def test_a_url_that_is_none_and_a_user_who_may_not_read_are_said(run, recorded_twice, postgres_url, monkeypatch, words):
    monkeypatch.setenv("CHATLEDGER_DATABASE", "mysql://somewhere/else")
    assert "is no Postgres URL" in str(run(*words).exception)
    name = f"stranger_{postgres_url.rpartition('_')[2]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA ledger TO {}").format(sql.Identifier(name)))
    strangers = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="x")
    monkeypatch.setenv("CHATLEDGER_DATABASE", strangers)
    assert "GRANT chatledger_reader" in str(run(*words).exception)


def test_dead_letters_are_listed_whole_and_can_be_put_back(run, postgres_url, monkeypatch):
    (good,) = as_records(PLACED[:1])
    bad = replace(good, headers=(("ce_id", b"none"),), value=b"not JSON")

    async def record() -> None:
        async with open_ledger(postgres_url) as ledger:
            await ledger.append([bad])

    asyncio.run(record())
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    (line,) = run("dead", "list").stdout.splitlines()
    assert line.endswith(f"ledger chat.inbound/0/0 {conversation_of('77')}: header ce_stream is missing")
    listed = orjson.loads(run("dead", "list", "--json").stdout)
    assert line.startswith(listed["id"])
    letter = RecordDeadLettered(**listed["letter"])
    assert original_record(letter) == (bad.key, bad.value, bad.headers)
    with pytest.raises(ConfigurationError, match="too large for a letter"):
        original_record(replace(letter, value_base64="", reason="odd (its value of 9 bytes is left out here)"))
    monkeypatch.setenv("CHATLEDGER_BROKER", "127.0.0.1:1")
    for stranger in ("zzz", PLACED[0][1].id):
        assert "no dead letter" in str(run("dead", "put-back", stranger).exception)
    assert isinstance(run("dead", "put-back", listed["id"]).exception, BrokerUnavailable)


def test_a_rebuild_needs_a_broker(run, recorded_twice):
    assert "needs a broker" in str(run("rebuild", "dialog").exception)


def test_the_commands_only_read(run, recorded_twice, postgres_url):
    with psycopg.connect(postgres_url) as connection:
        before = connection.execute("SELECT count(*), max(position) FROM ledger.events").fetchone()
        for words in (("state", conversation_of("77")), ("replay", "--json"), ("verify",)):
            run(*words)
        assert connection.execute("SELECT count(*), max(position) FROM ledger.events").fetchone() == before
