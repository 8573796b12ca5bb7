"""Invoices and credit notes are numbered without gaps by several processes at once, whichever of them is killed."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from chatledger.events.orders import InvoiceIssued, InvoiceVoided
from chatledger_billing.app import set_up_database
from chatledger_billing.store import postgres_store

CLIENTS, PROCESSES, KILLS = 30, 3, 2
DEADLINE_S = 90
ROOT = Path(__file__).parents[2]


async def bill(url: str, partition: int, chance: random.Random) -> int:
    """Bill one partition with a process that is killed KILLS times on the way; return how often one was."""
    killed = 0
    while True:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.services.billing_worker", url, str(partition), str(CLIENTS)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if killed < KILLS:
                await handled(process, chance.randrange(3, 15))
                # Somewhere within the next transaction, or right before or after it.
                await asyncio.sleep(chance.random() / 200)
                process.kill()
            await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode == 0:
            return killed
        assert process.returncode == -9
        killed += 1


async def handled(process: asyncio.subprocess.Process, records: int) -> None:
    """Wait until the process has handled so many."""
    assert process.stdout is not None
    while records:
        line = await process.stdout.readline()
        assert line, "it ended before it was killed"
        records -= line.startswith(b"handled")


@pytest.mark.postgres
@pytest.mark.slow
async def test_numbers_have_no_gap_whoever_is_killed(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    chance = random.Random(20261121)
    async with asyncio.timeout(DEADLINE_S):
        killed = await asyncio.gather(*(bill(postgres_url, partition, chance) for partition in range(PROCESSES)))
    assert killed == [KILLS] * PROCESSES
    store = postgres_store(postgres_url)
    events = [each.event for _, each in store.follow(0, 10_000)]
    store.close()
    numbers = [each.number for each in events if isinstance(each, InvoiceIssued)]
    notes = [each.credit_note for each in events if isinstance(each, InvoiceVoided)]
    assert numbers == [f"INV-2026-{count:06d}" for count in range(1, PROCESSES * CLIENTS + 1)]
    assert notes == [f"CN-2026-{count:06d}" for count in range(1, PROCESSES * CLIENTS // 2 + 1)]
    assert len({each.order_id for each in events if isinstance(each, InvoiceIssued)}) == len(numbers)
