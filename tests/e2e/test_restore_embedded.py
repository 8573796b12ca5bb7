"""The embedded broker ends with its process; what it took with it is said, and the next one goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from tests.e2e.load import Load
from tests.e2e.up_process import UpProcess, until
from tests.support.postgres import fresh_database
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture
def system(provider: ScriptedProvider, postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[UpProcess]:
    with fresh_database(postgres_server) as database:
        up = UpProcess(tmp_path, provider_url=provider.url, database=database)
        try:
            yield up.start()
        finally:
            up.end()


def test_no_invariant_is_broken_by_a_kill_of_everything(system: UpProcess, provider: ScriptedProvider) -> None:
    for first_client in (50_000, 60_000):
        with Load(url=system.url, first_client=first_client, clients=60, webhooks_per_second=80) as load:
            until(lambda load=load: len(load.acknowledged) > 120, timeout_s=60, what="the load is under way")  # type: ignore[misc]  # mypy does not know a default of a lambda
            system.kill()
            load.stop()
        (system.folder / "var" / "up.json").unlink()  # what says that it is healthy is that of the dead one
        system.start()
        report = json.loads(system.run("verify", "--settle", "40", "--json", check=False).stdout)
        assert report["violations"] == 0, [each for each in report["invariants"] if each["violations"]]
        assert report["dead_letters"] == []
    keys = Counter(message.idempotency_key for message in provider.received)
    # A message that was on its way when everything was killed is sent again with its key.
    assert all(times <= 2 for times in keys.values())
    assert system.stop() == 0
    system.start()
    assert "put back on their topics" not in system.log.rpartition("this broker is new to it")[2]
