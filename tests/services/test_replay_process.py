"""`chatledger replay` as a process: ended in the middle, with other hash seeds, and with nothing to send by."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import orjson
import psutil
import psycopg
import pytest

from chatledger.replay import fold, state_hash
from tests.services.test_replay_command import rows_of
from tests.support.ledger import Placed, history
from tests.support.postgres import fresh_database
from tests.support.replay import (
    SLOWLY,
    Ended,
    append_placed,
    ended,
    environment_for,
    replayed,
    replaying,
)

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

PLACED: Placed = [pair for client in range(20) for pair in history(str(client), invoice=client + 1)]
APPENDED_EACH = 10
"""So a slow replay takes two seconds."""
DEADLINE_S = 30.0
CREDENTIALS = {
    "CHAT2DESK_API_TOKEN": "credential-1",
    "TWILIO_AUTH_TOKEN": "credential-2",
    "META_ACCESS_TOKEN": "credential-3",
    "ZOHO_REFRESH_TOKEN": "credential-4",
    "SOME_TOKEN_OF_A_PROJECT": "credential-5",
}


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    append_placed(postgres_url, PLACED, each=APPENDED_EACH)
    return environment_for(postgres_url, tmp_path, **CREDENTIALS)


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + DEADLINE_S
    while not holds():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert monotonic() < deadline


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_two_processes_with_other_hash_seeds_come_to_the_same_hash(environment):
    first, second = (replayed(["--json"], {**environment, "PYTHONHASHSEED": seed}) for seed in ("1", "4242"))
    assert first.summary["state_hash"] == second.summary["state_hash"]
    assert first.summary["state_hash"] == state_hash(fold(envelope for _, envelope in PLACED))
    assert first.summary["events"] == second.summary["events"] == len(PLACED)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(environment, tmp_path):
    whole = replayed([], environment).out
    out, kept = tmp_path / "out.ndjson", tmp_path / "out.position"
    words = ["--to-file", out, "--resume", kept, "--json"]
    with replaying([*words, *SLOWLY], environment) as process:
        until(lambda: length_of(out) > 0, process)
        process.send_signal(signal.SIGINT)
        stopped = ended(process)
    assert stopped.code == 130
    assert "give the same command again to go on" in stopped.err
    assert "Traceback" not in stopped.err
    assert 0 < length_of(out) == orjson.loads(kept.read_bytes())["bytes"] < len(whole)
    finished = replayed(words, environment)
    assert finished.code == 0, finished.err
    assert out.read_bytes() == whole
    assert finished.summary["state_hash"] == state_hash(fold(envelope for _, envelope in PLACED))
    assert finished.summary["resumed_after"] == orjson.loads(stopped.err.split("after position ")[1].split(",")[0])


def test_ctrl_c_without_a_position_file_says_where_it_was(environment):
    with replaying(SLOWLY, environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        stopped = ended(process)
    assert stopped.code == 130
    assert "--after-position" in stopped.err


def test_a_file_is_whole_after_kills(environment, tmp_path):
    whole = replayed([], environment).out
    out, kept = tmp_path / "out.ndjson", tmp_path / "out.position"
    words = ["--to-file", out, "--resume", kept, "--json"]
    reached = 0
    for _ in range(3):
        with replaying([*words, *SLOWLY], environment) as process:
            # On from what the last one left; what it had not yet noted is cut off and written again.
            until(lambda: length_of(out) > reached, process)  # noqa: B023  # it is called within the loop only
            process.kill()
        reached = length_of(out)
        with out.open("ab") as file:
            file.write(whole[reached : reached + 50])
    finished = replayed(words, environment)
    assert finished.code == 0, finished.err
    assert out.read_bytes() == whole
    assert finished.summary["state_hash"] == state_hash(fold(envelope for _, envelope in PLACED))


def test_a_table_has_each_event_once_after_kills(environment, postgres_url, postgres_server):
    with fresh_database(postgres_server) as theirs:
        words = ["--to-database", theirs, "--to-table", "copied", "--json"]

        def copied() -> int:
            with psycopg.connect(theirs) as connection:
                there = connection.execute("SELECT to_regclass('copied') IS NOT NULL").fetchone()
                row = connection.execute("SELECT count(*) FROM copied").fetchone() if there == (True,) else None
                return row[0] if row else 0

        for _ in range(2):
            before = copied()
            with replaying([*words, *SLOWLY], environment) as process:
                until(lambda: copied() > before, process)  # noqa: B023  # it is called within the loop only
                process.kill()
        with psycopg.connect(theirs) as connection:
            kept = connection.execute("SELECT position, events FROM chatledger_replays").fetchone()
            assert connection.execute("SELECT max(position), count(*) FROM copied").fetchone() == kept
        finished = replayed(words, environment)
        assert finished.code == 0, finished.err
        assert kept is not None
        assert finished.summary["resumed_after"] == kept[0]
        assert rows_of(theirs, "copied") == rows_of(postgres_url, "ledger.events")


def test_it_opens_no_connection_but_to_the_ledger(environment, postgres_url):
    ledger = (
        psycopg.conninfo.conninfo_to_dict(postgres_url)["host"],
        int(str(postgres_url).split(":")[-1].split("/")[0]),
    )
    with replaying(["--json", *SLOWLY], environment) as process:
        seen: set[tuple[str, int]] = set()
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                connections = watched.net_connections(kind="inet")
            except psutil.NoSuchProcess:
                break
            assert not [each for each in connections if each.status == psutil.CONN_LISTEN]
            seen |= {(each.raddr.ip, each.raddr.port) for each in connections if len(each.raddr)}
        assert ended(process).summary["events"] == len(PLACED)
    assert seen == {ledger}


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port that somebody might send to, and who called."""
    callers: list[object] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def accept() -> None:
            try:
                while True:
                    caller, address = listening.accept()
                    caller.close()
                    callers.append(address)
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1], callers
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


PLANT = """
import os, sys
import chatledger_cli.replay.outputs as outputs
from chatledger_cli.main import main

really = outputs.row_line
def tampered(row):
    {tampering}
    return really(row)
outputs.row_line = tampered
sys.argv = ["chatledger", "replay", "--until-position", "5"]
main()
"""
SENDING = {
    "a socket": "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "httpx": "import httpx; httpx.post('http://127.0.0.1:{port}/messages', json={{}})",
    "a name": "import httpx; httpx.post('http://localhost:{port}/messages', json={{}})",
    "urllib": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/messages')",
    "datagram": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hi', ('127.0.0.1', {port}))",
    "a thread": "import asyncio, httpx, threading; t = threading.Thread(target=lambda:"
    " httpx.post('http://127.0.0.1:{port}')); t.start(); t.join()",
    "curl": "import subprocess; subprocess.run(['curl', 'http://127.0.0.1:{port}/messages'])",
    "os.system": "os.system('curl http://127.0.0.1:{port}/messages')",
}


def tampered(tampering: str, environment: dict[str, str]) -> Ended:
    process = subprocess.Popen(
        [sys.executable, "-c", PLANT.format(tampering=tampering)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return ended(process)


@pytest.mark.parametrize("name", SENDING)
def test_whatever_tries_to_send_is_refused_and_the_replay_fails(environment, name):
    with listener() as (port, callers):
        came = tampered(SENDING[name].format(port=port), environment)
    assert not callers
    assert came.code == 1, came.err
    assert "replay can never send" in came.err


def test_it_fails_even_where_the_refusal_was_caught(environment):
    caught = "\n    ".join(("import httpx", "try: httpx.post('http://127.0.0.1:{port}')", "except BaseException: pass"))
    with listener() as (port, callers):
        came = tampered(caught.format(port=port), environment)
        # The same plant gets through where there is no seal: so this test can fail.
        subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"], check=True
        )
        until_called = monotonic() + DEADLINE_S
        while not callers and monotonic() < until_called:
            pass
    assert len(callers) == 1
    assert came.code == 1
    assert "something tried: a connection to ('127.0.0.1'" in came.err


def test_no_credential_is_in_its_environment(environment):
    told = tampered("print(sorted(os.environ), sorted(os.environ.values()), file=sys.stderr)", environment)
    assert told.code == 0, told.err
    assert "PATH" in told.err
    assert "credential" not in told.err
    for name in CREDENTIALS:
        assert name not in told.err
    assert len(told.out.splitlines()) == 5
