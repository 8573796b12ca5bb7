"""The notebook runs on a real ledger from its first cell to its last, and is kept without what it showed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.exported import both_flows, record, recorded_on
from tests.support.postgres import fresh_database
from tests.tidy.rules import MACHINE_PATH
from tests.tidy.tree import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S = 60
LIBRARY_WARNINGS = "ignore:.*:DeprecationWarning"


@pytest.fixture
def ledger(postgres_server) -> Iterator[str]:
    """Both flows, recorded on three days."""
    placed = both_flows()
    first = datetime(2026, 11, 19, 12, tzinfo=UTC)
    with fresh_database(postgres_server) as url:
        record(url, placed)
        recorded_on(url, [(first, 20), (first + timedelta(days=1), 40), (first + timedelta(days=2), len(placed))])
        yield url


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["history.ipynb"]


@pytest.mark.postgres
@pytest.mark.filterwarnings(LIBRARY_WARNINGS)
def test_the_notebook_shows_what_it_says(ledger, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CHATLEDGER_DATABASE", ledger)
    notebook = read(NOTEBOOKS[0])
    NotebookClient(
        notebook, kernel_name="python3", timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    said = {cell.id: "\n".join(map(text_of, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}
    assert said["open"] == str(len(both_flows()))
    assert "message.received" in said["events"]
    assert "│ 7QK2-M0XF ┆ 100 x Cement, 3 x Sand " in said["typed"]
    assert [int(row.split("┆")[1]) for row in said["funnel"].splitlines() if row.startswith("│ ") and "." in row] == [
        3, 2, 2, 2, 1,
    ]  # fmt: skip
    assert "order-form" in said["times"]
    assert "undelivered" in said["pandas"]
    assert "COMPLETED" in said["then"]
    assert said["state"].startswith("{'status': 'COMPLETED', 'flow': 'order_form', 'language': 'en', 'version': ")
    assert all(day in said["parquet"] for day in ("2026-11-19", "2026-11-20", "2026-11-21"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert not MACHINE_PATH.search(path.read_text())
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has types for a part only


def text_of(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    assert output.output_type != "error", output
    return str(output.data["text/plain"])
