"""The watchdog in a process of its own, whose event loop stands still, or which is itself stopped for a while."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from chatledger.process import EXIT_FAILED

WATCHED = """
import asyncio, sys, time
from chatledger_dialog.watchdog import Watchdog

def stand_still():
    time.sleep(60)

async def main(rounds):
    with Watchdog(patience_s=2) as watchdog:
        print("watched", flush=True)
        for _ in range(rounds):
            watchdog.alive()
            await asyncio.sleep(0.2)
        if rounds == 1:
            stand_still()
    await asyncio.sleep(4)

asyncio.run(main(int(sys.argv[1])))
"""


async def test_a_loop_that_stands_still_ends_its_process_and_says_where_it_stood():
    code, said = await _end_of(await _watched(rounds=1))
    assert code == EXIT_FAILED
    assert "The event loop has stood still" in said
    assert "in stand_still" in said


@pytest.mark.slow
async def test_a_process_that_was_stopped_for_longer_goes_on_and_so_does_one_that_is_watched_no_longer():
    process = await _watched(rounds=10)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    process.send_signal(signal.SIGCONT)
    assert await _end_of(process) == (0, "")


async def _watched(rounds: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WATCHED, str(rounds)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"watched\n"
    return process


async def _end_of(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, said = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()
