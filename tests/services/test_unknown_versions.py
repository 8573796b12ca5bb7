"""What a newer chatledger wrote into the ledger, as the commands of this one show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chatledger import topics
from chatledger.dead_letters import dead_letter
from chatledger.errors import ConfigurationError
from chatledger.events import UnknownEvent
from chatledger_cli import dead, time_travel
from tests.support.ledger import as_records, conversation_of, history
from tests.support.replay import Run, append_placed
from tests.unit.event_examples import TIME

pytestmark = pytest.mark.postgres


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    time_travel.register(app)
    dead.register(app)
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, words)


def test_a_dead_letter_of_a_newer_version_is_named_and_left_to_the_newer_one(run, postgres_url, monkeypatch):
    [record] = as_records(history("77")[:1])
    letter = dead_letter(record, "odd", service="dialog", incarnation="tests", now=TIME)
    newer = UnknownEvent(type_name="record.dead_lettered", schema_version=9, data={"all": "new"})
    from_newer = replace(letter, id="2638d425-4227-5eb8-98f5-51b222328b6d", data=newer)
    append_placed(postgres_url, [(topics.DEAD, letter), (topics.DEAD, from_newer)])
    listed = run("dead", "list")
    assert listed.stdout.startswith(letter.id)
    assert f"{from_newer.id} was written by a newer chatledger" in listed.stderr
    assert len(listed.stdout.splitlines()) == 1
    monkeypatch.setenv("CHATLEDGER_BROKER", "127.0.0.1:1")
    refused = run("dead", "put-back", from_newer.id)
    assert isinstance(refused.exception, ConfigurationError)
    assert "put it back with that one" in str(refused.exception)


def test_state_says_what_it_passed_over(run, postgres_url):
    placed = history("77", ["hi"])
    last = [each for topic, each in placed if topic == topics.DIALOG][-1]
    assert last.stream_version is not None
    stranger = replace(
        last,
        id="2638d425-4227-5eb8-98f5-51b222328b6d",
        stream_version=last.stream_version + 1,
        data=UnknownEvent(type_name="address.given", schema_version=9, data={"where": "there"}),
    )
    append_placed(postgres_url, [*placed, (topics.DIALOG, stranger)])
    shown = run("state", conversation_of("77"))
    assert shown.exit_code == 0, shown.output
    assert "1 event of an unknown type was passed over: address.given.v9 (1)" in " ".join(shown.stderr.split())
    assert "WAITING_ADDRESS" in shown.stdout
