"""The dialog's table made anew while customers write: nobody waits for long, and nothing is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.dialogue import TEXTS, order, say
from tests.e2e.up_process import UpProcess
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CUSTOMERS = range(301, 313)


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture
def system(provider: ScriptedProvider, tmp_path: Path) -> Iterator[UpProcess]:
    tmp_path.chmod(0o711)
    up = UpProcess(tmp_path, provider_url=provider.url)
    try:
        yield up.start()
    finally:
        up.end()


def test_customers_go_on_while_the_table_is_rebuilt_and_switched(system, provider):
    with system.client() as http, ThreadPoolExecutor(max_workers=1) as beside:
        for text in TEXTS[:2]:
            say(http, provider, 300, text)
        rebuilding = beside.submit(system.run, "rebuild", "dialog", "--json")
        numbers = [order(http, provider, customer) for customer in CUSTOMERS]
        rebuilt = json.loads(rebuilding.result().stdout.splitlines()[-1])
        assert (rebuilt["name"], rebuilt["version"], rebuilt["taken_over"]) == ("dialog", 2, True)
        assert rebuilt["conversations"] >= 1
        # Who had begun before goes on where they were.
        for text in TEXTS[2:]:
            say(http, provider, 300, text)
    assert len(set(numbers)) == len(CUSTOMERS)
    report = json.loads(system.run("verify", "--settle", "20", "--json").stdout)
    assert report["violations"] == 0, report["invariants"]
    assert json.loads(system.run("state", "order-form/chat2desk/300", "--json").stdout)["status"] == "COMPLETED"
