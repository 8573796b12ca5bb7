"""What-if over a file of history, as a developer runs it; fixtures that its tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from chatledger.errors import ConfigurationError
from chatledger_cli import what_if_command
from tests.replay.store_conversations import CONVERSATIONS, store_history
from tests.support.ledger import Placed, history
from tests.support.what_if import changed_copy, write_history
from tests.unit.projects_at_hand import FOLDER

Run = Callable[..., Any]
PLACED: Placed = [*history("1000077"), *history("1000078", ["hi", "x"]), *store_history(CONVERSATIONS["store-order"])]
CLIENTS_WORDS = ("Baker Street", "98765", "+919900000001", "1000077")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    what_if_command.register(app)
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHATLEDGER_PROJECTS", str(FOLDER))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def over(run: Run, tmp_path: Path) -> Run:
    """What-if over a file of history; returns the exit code and the report."""
    path = write_history(tmp_path / "history.ndjson", PLACED)

    def report(*words: object) -> tuple[int, dict[str, Any]]:
        ended = run("--history", path, "--json", *words)
        if isinstance(ended.exception, ConfigurationError):
            raise ended.exception
        return ended.exit_code, orjson.loads(ended.stdout.splitlines()[-1])

    return report


def decide_first(folder: Path, code: str) -> Path:
    """A copy of the store's flow whose decide begins with these lines."""
    first = "    assert isinstance(message.data, MessageReceived)\n    text = message.data.text.strip()\n"
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return changed_copy(folder, "store", first, first + lines)
