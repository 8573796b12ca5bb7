"""`chatledger what-if` over what `chatledger demo` recorded: without a change nothing differs, with one it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_demo import demo
from tests.e2e.up_process import PROJECTS

pytestmark = pytest.mark.slow


def what_if(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    return subprocess.run(
        [sys.executable, "-m", "chatledger_cli.main", "what-if", *words],
        cwd=folder,
        env=environment | {"CHATLEDGER_PROJECTS": str(PROJECTS)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(220)
def test_the_ledger_of_a_demo(tmp_path: Path) -> None:
    assert demo(tmp_path, clients=8).returncode == 0
    same = what_if(tmp_path, "--json")
    assert same.returncode == 0, same.stdout + same.stderr
    totals = json.loads(same.stdout)["totals"]
    assert totals["conversations"] == 8
    assert totals["decisions"] > 40
    assert {
        totals[name] for name in ("decisions_differ", "not_decided", "without_input", "incomplete_conversations")
    } == {0}
    dearer = tmp_path / "store.yaml"
    dearer.write_text((PROJECTS / "store.yaml").read_text().replace('price: "50.00"', 'price: "55.00"'))
    other = what_if(tmp_path, "--project", str(dearer), "--html", "page.html")
    assert other.returncode == 1, other.stdout + other.stderr
    assert "event data changed: cart.items_added" in other.stdout
    assert (tmp_path / "page.html").stat().st_size > 10_000
    wrong = what_if(tmp_path, "--flow", "missing.py")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --flow")
