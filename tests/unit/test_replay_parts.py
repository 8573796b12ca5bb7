"""The parts of `chatledger replay` that need no ledger: the pace, the selection that is kept, the seal."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.errors import ConfigurationError, InvariantViolated
from chatledger_cli.replay.pace import Pace, Schedule, read_pace
from chatledger_cli.replay.seal import bare_environment, sealed
from chatledger_cli.selection import OPTIONS, Words, as_json, choose, differences, from_json

START = datetime(2026, 11, 21, 10, tzinfo=UTC)
NOW = START + timedelta(days=1)
gaps_s = st.lists(st.floats(0, 1e6), max_size=30)


def due_s(pace: Pace, gaps: list[float]) -> list[float]:
    schedule, at = Schedule(pace), START
    due = [schedule.due_s(at)]
    for gap in gaps:
        at += timedelta(seconds=gap)
        due.append(schedule.due_s(at))
    return due


@given(gaps_s, st.floats(0.01, 1000))
def test_events_are_due_as_they_were_recorded_times_the_speed(gaps, speed):
    assert due_s(Pace(speed=speed), gaps)[-1] == pytest.approx(sum(gaps) / speed, abs=0.001)


@given(gaps_s, st.floats(0.01, 1000), st.floats(0, 10))
def test_no_silence_is_longer_than_the_longest_gap_and_short_ones_are_kept(gaps, speed, gap_max_s):
    due = due_s(Pace(speed=speed, gap_max_s=gap_max_s), gaps)
    for gap, before, after in zip(gaps, due, due[1:], strict=False):
        assert after - before == pytest.approx(min(gap / speed, gap_max_s), abs=0.001)


def test_a_clock_that_went_back_makes_no_wait():
    schedule = Schedule(Pace(speed=1))
    assert [schedule.due_s(START), schedule.due_s(START - timedelta(hours=1)), schedule.due_s(START)] == [0, 0, 3600]


@pytest.mark.parametrize(
    ("speed", "gap_max", "pace"),
    [
        ("max", None, None),
        ("1x", None, Pace(speed=1)),
        ("10", "5s", Pace(speed=10, gap_max_s=5)),
        ("0.5X", "500ms", Pace(speed=0.5, gap_max_s=0.5)),
        (" 2 x ", "2m", Pace(speed=2, gap_max_s=120)),
    ],
)
def test_a_pace_is_read_as_it_is_written(speed, gap_max, pace):
    assert read_pace(speed, gap_max) == pace


words = st.builds(
    Words,
    since=st.sampled_from([None, "-7d", "2026-11-21"]),
    until=st.sampled_from([None, "-1m"]),
    after_position=st.integers(0, 9),
    until_position=st.none() | st.integers(0, 9),
    stream=st.none() | st.text(max_size=3),
    types=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    project=st.none() | st.text(max_size=3),
)


@given(words)
def test_a_selection_is_kept_as_it_was_meant_then(typed):
    chosen = choose(typed, NOW)
    kept = from_json(as_json(chosen))
    assert kept == chosen
    assert differences(kept.words, choose(typed, NOW + timedelta(days=9)).words) == []


@given(words, words)
def test_two_selections_that_differ_are_told_apart_by_the_option(one, other):
    said = differences(one, other)
    assert (said == []) == (one == other)
    assert all(phrase.split(" was ")[0] in OPTIONS.values() for phrase in said)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def call(host: str, port: int) -> None:
    with socket.socket() as client:
        client.connect((host, port))


def test_a_door_is_open_by_name_and_by_address_and_nothing_else_is(listening):
    with sealed([("localhost", listening)]):
        call("localhost", listening)
        call("127.0.0.1", listening)
    with pytest.raises(InvariantViolated, match="a connection to"), sealed([("localhost", listening + 1)]):
        call("127.0.0.1", listening)
    with sealed() as seal:
        seal.open([("127.0.0.1", listening)])
        call("127.0.0.1", listening)
    call("127.0.0.1", listening)


def test_a_name_may_come_to_another_address(listening, monkeypatch):
    address = "127.0.0.9"
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, listening))]
    )
    with sealed([("broker", listening)]):
        address = "127.0.0.1"
        with socket.socket() as client:
            client.connect(("127.0.0.1", listening))


def test_a_local_socket_and_a_process_are_no_doors(tmp_path):
    with pytest.raises(InvariantViolated, match="a connection to"), sealed(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "log"))
    with pytest.raises(InvariantViolated, match="a process"), sealed():
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_what_was_refused_is_said_whatever_else_went_wrong(listening):
    def swallowed() -> None:
        try:
            call("127.0.0.1", listening)
        except InvariantViolated:
            raise ConfigurationError("the broker is away") from None

    with pytest.raises(InvariantViolated, match="something tried"), sealed():
        swallowed()
    with pytest.raises(ConfigurationError, match="something else"), sealed():
        raise ConfigurationError("something else")


def test_the_environment_is_bare_and_comes_back(monkeypatch):
    monkeypatch.setenv("CHAT2DESK_API_TOKEN", "secret")
    monkeypatch.setenv("PGPASSFILE", "kept")
    before = dict(os.environ)
    with bare_environment():
        assert "secret" not in os.environ.values()
        assert os.environ["PGPASSFILE"] == "kept"
        assert not any(name.startswith("CHATLEDGER_") for name in os.environ)
    assert dict(os.environ) == before
