"""`chatledger demo` on the embedded default: everything ordered and replied to, twice in the same folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.up_process import PROJECTS

pytestmark = pytest.mark.slow

KEYS = ["webhooks", "acknowledged", "duplicates", "events", "orders", "invoices", "replies", "violations", "seconds"]
# Of four customers three write to the order form bot, 5, 10 and 10 messages, and one to the store.
TEXTS, REPLIES = 25 + 3, 25 + 4
ECHOES, REPORTS = 3, 2 * 4


def demo(folder: Path, *, clients: int = 4, projects: Path = PROJECTS) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    return subprocess.run(
        [sys.executable, "-m", "chatledger_cli.main", "demo", "--clients", str(clients), "--json"],
        cwd=folder,
        env=environment | {"CHATLEDGER_PROJECTS": str(projects)},
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
        assert (figures["orders"], figures["invoices"], figures["replies"], figures["violations"]) == (4, 4, REPLIES, 0)
        # One webhook in twenty is sent twice; some replies come back as echoes, the store's are reported on.
        assert figures["acknowledged"] == figures["webhooks"] == TEXTS + ECHOES + REPORTS + figures["duplicates"]
        assert figures["duplicates"] > 0
        assert figures["events"] > figures["webhooks"]
        assert figures["seconds"] < 60
        assert all(heading in run.stderr for heading in ("together", "order-form", "store"))
    assert "4 orders from 1 run;" in first.stderr
    assert "8 orders from 2 runs;" in second.stderr
    assert not (tmp_path / "var" / "up.json").exists()


@pytest.mark.parametrize(("name", "replies"), [("order-form", 5), ("store", 4)])
def test_with_one_project_it_shows_that_one(name: str, replies: int, tmp_path: Path) -> None:
    (tmp_path / "projects").mkdir()
    shutil.copy(PROJECTS / f"{name}.yaml", tmp_path / "projects")
    run = demo(tmp_path, clients=1, projects=tmp_path / "projects")
    assert run.returncode == 0, run.stderr + (tmp_path / "var" / "demo.log").read_text()[-3000:]
    figures = json.loads(run.stdout.splitlines()[-1])
    assert (figures["orders"], figures["invoices"], figures["replies"], figures["violations"]) == (1, 1, replies, 0)
