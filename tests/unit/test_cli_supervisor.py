"""The supervisor with small children of its own: starts again, gives up, stops in order, leaves nobody behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chatledger.errors import ConfigurationError
from chatledger_cli import supervisor as supervisor_module
from chatledger_cli.supervisor import ChildPlan, ChildrenFailed, Supervisor

DEADLINE_S = 15.0
STAYS = "import time; print('up', flush=True); time.sleep(600)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"


def plan(name: str, code: str, *, stop_timeout_s: float = 5.0) -> ChildPlan:
    return ChildPlan(
        name=name,
        command=(sys.executable, "-c", code),
        environment=dict(os.environ),
        stop_timeout_s=stop_timeout_s,
    )


class Heard:
    """What the supervisor said and what its children logged."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.logged: list[tuple[str, str]] = []

    def supervise(self, *plans: ChildPlan) -> Supervisor:
        return Supervisor(plans, say=self.said.append, log=lambda name, line: self.logged.append((name, line)))

    def times(self, name: str, line: str) -> int:
        return self.logged.count((name, line))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (the condition is another process's)
            await asyncio.sleep(0.01)


async def stop_all(supervisor: Supervisor) -> None:
    for name in supervisor.names:
        await supervisor.stop(name)


async def test_a_child_that_is_killed_is_started_again() -> None:
    heard = Heard()
    supervisor = heard.supervise(plan("worker", STAYS))
    await supervisor.start()
    try:
        await until(lambda: heard.times("worker", "up") == 1)
        first = supervisor.process_id("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: heard.times("worker", "up") == 2)
        assert supervisor.process_id("worker") not in (None, first)
        assert heard.said == ["worker was ended by SIGKILL; starting it again in 0.2 s"]
    finally:
        await stop_all(supervisor)
    assert supervisor.process_id("worker") is None


async def test_a_wrong_configuration_is_given_up_at_once() -> None:
    heard = Heard()
    supervisor = heard.supervise(plan("worker", "import sys; print('error: set X'); sys.exit(2)"), plan("other", STAYS))
    await supervisor.start()
    with pytest.raises(ConfigurationError, match="worker cannot run as it is configured: error: set X"):
        await asyncio.wait_for(supervisor.failed(), DEADLINE_S)
    await stop_all(supervisor)
    assert heard.times("worker", "error: set X") == 1


async def test_a_child_that_dies_all_the_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(supervisor_module, "BACKOFF_MAX_S", 0.001)
    heard = Heard()
    supervisor = heard.supervise(plan("worker", "raise SystemExit('no luck')"))
    await supervisor.start()
    with pytest.raises(ChildrenFailed, match="worker ended 11 times in a minute; it said last: no luck"):
        await asyncio.wait_for(supervisor.failed(), DEADLINE_S)
    await stop_all(supervisor)


async def test_a_child_whose_database_is_away_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(supervisor_module, "BACKOFF_MAX_S", 0.001)
    heard = Heard()
    supervisor = heard.supervise(plan("worker", "raise SystemExit(75)"))
    await supervisor.start()
    failed = asyncio.create_task(supervisor.failed())
    await until(lambda: len(heard.said) > supervisor_module.DEATHS_PER_MINUTE_MAX + 2)
    assert not failed.done()
    failed.cancel()
    await stop_all(supervisor)


async def test_a_child_that_does_not_stop_is_killed() -> None:
    heard = Heard()
    supervisor = heard.supervise(plan("deaf", IGNORES_SIGTERM, stop_timeout_s=0.2))
    await supervisor.start()
    await until(lambda: heard.times("deaf", "up") == 1)
    assert await supervisor.stop("deaf") is False
    assert heard.said == ["deaf did not end within 0.2 s: killed"]


async def test_one_that_is_being_stopped_is_not_started_again() -> None:
    heard = Heard()
    code = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {STAYS}"
    supervisor = heard.supervise(plan("worker", code))
    await supervisor.start()
    await until(lambda: heard.times("worker", "up") == 1)
    assert await supervisor.stop("worker") is True
    assert heard.said == []


async def test_a_line_without_end_does_not_stop_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "LINE_LENGTH_MAX", 1024)
    heard = Heard()
    supervisor = heard.supervise(plan("worker", f"print('x' * 100_000); {STAYS}"))
    await supervisor.start()
    await until(lambda: heard.times("worker", "up") == 1)
    await stop_all(supervisor)


def test_a_child_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "chatledger_cli.child", "sleeper"],
                         stdin=subprocess.PIPE, cwd={str(tmp_path)!r}, start_new_session=True)
time.sleep(600)
"""
    deadline = time.monotonic() + DEADLINE_S
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        process.kill()
    child.wait(timeout=DEADLINE_S)
