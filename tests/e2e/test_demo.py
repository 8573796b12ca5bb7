"""`chatledger demo` on the embedded default: everything ordered and replied to, twice in the same folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.up_process import PROJECTS

pytestmark = pytest.mark.slow

KEYS = ["webhooks", "acknowledged", "duplicates", "events", "orders", "invoices", "replies", "violations", "seconds"]
REPLIES = 28  # what the first four customers write


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    return subprocess.run(
        [sys.executable, "-m", "chatledger_cli.main", "demo", "--clients", "4", "--json"],
        cwd=folder,
        env=environment | {"CHATLEDGER_PROJECTS": str(PROJECTS)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(220)
def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    first, second = demo(tmp_path), demo(tmp_path)
    for run in (first, second):
        assert run.returncode == 0, run.stderr + (tmp_path / "var" / "demo.log").read_text()[-3000:]
        figures = json.loads(run.stdout.splitlines()[-1])
        assert list(figures) == KEYS
        # Four customers, of whom one cancels; one webhook in twenty is sent twice, and replies come back as echoes.
        assert (figures["orders"], figures["invoices"], figures["replies"], figures["violations"]) == (3, 3, REPLIES, 0)
        assert figures["acknowledged"] == figures["webhooks"] == REPLIES + 4 + figures["duplicates"]
        assert figures["duplicates"] > 0
        assert figures["events"] > figures["webhooks"]
        assert figures["seconds"] < 60
    assert "3 orders from 1 run;" in first.stderr
    assert "6 orders from 2 runs;" in second.stderr
    assert not (tmp_path / "var" / "up.json").exists()
