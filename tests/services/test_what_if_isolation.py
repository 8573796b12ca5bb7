"""What changed flow code sees of the world around it: nothing with which it could send, or tell."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from chatledger_cli.what_if.run import child_environment
from tests.services.what_if_over import decide_first, over, run

__all__ = ["over", "run"]

SECRETS = ("CHAT2DESK_API_TOKEN", "TWILIO_AUTH_TOKEN", "CHATLEDGER_DATABASE", "CHATLEDGER_BROKER", "PGPASSWORD", "HOME")


def told(over, tmp_path: Path, what: str) -> str:
    """What a flow finds out about its surroundings; it tells by an error."""
    changed = decide_first(tmp_path, f'import os, sys\nif text == "status": raise KeyError({what})')
    _, report = over("--flow", changed, "--show-personal")
    (turn,) = [each for each in report["conversations"][0]["turns"] if each["differs"]]
    return turn["failure"]["text"] or turn["failure"]["error"]


def test_no_variable_with_a_secret_is_seen(over, tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "planted-secret")
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    seen = told(over, tmp_path, "repr(dict(os.environ))")
    assert "PYTHONPATH" in seen
    assert "planted-secret" not in seen
    assert not [name for name in SECRETS if f"'{name}'" in seen]


def test_the_environment_is_made_anew():
    seen = child_environment(dict.fromkeys(SECRETS, "planted-secret") | {"TZ": "UTC", "PYTHONSTARTUP": "x"})
    assert set(seen) == {"TZ", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def test_nothing_is_on_its_command_line_and_it_reads_nothing_of_the_history(over, tmp_path):
    assert told(over, tmp_path, "repr((sys.argv[1:], sys.stdin.read()))") == repr(repr(([], "")))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_of_ours_is_open_in_it(over, tmp_path):
    with (tmp_path / "planted").open("w") as planted:
        os.set_inheritable(planted.fileno(), True)
        seen = told(over, tmp_path, "repr([os.path.realpath(f'/dev/fd/{fd}') for fd in range(99)])")
    assert "/dev/null" in seen
    assert "planted" not in seen


@pytest.mark.parametrize(
    "way_out",
    [
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('socket').getaddrinfo('localhost', 80)",
        "__import__('subprocess').run(['true'])",
        "os.system('true')",
        "os.fork()",
    ],
)
def test_it_reaches_nothing_outside(over, tmp_path, way_out):
    assert "CallsOutside" in told(over, tmp_path, way_out)


def test_what_it_prints_is_no_part_of_the_report(over, tmp_path, capfd):
    changed = decide_first(tmp_path, 'print("printed by the flow")')
    code, report = over("--flow", changed)
    assert (code, report["differs"]) == (0, False)
    assert "printed by the flow" in capfd.readouterr().err


def test_it_is_another_process(over, tmp_path):
    assert told(over, tmp_path, "os.getpid()") not in ("", str(os.getpid()))


def test_what_is_shown_is_masked_as_in_logs(over, tmp_path):
    changed = decide_first(tmp_path, "return [dialog.MessageDeferred()]")
    shown, whole = (orjson.dumps(over("--flow", changed, *words)[1]).decode() for words in ((), ("--show-personal",)))
    assert "+919900000001" in whole
    assert "Cement x 100" in whole
    for personal in ("919900000001", "Cement x 100", "₹"):
        assert personal not in shown
