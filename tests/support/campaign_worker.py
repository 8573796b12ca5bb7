"""The jobs of campaigns in a process of their own, to be killed: `python -m tests.support.campaign_worker <url>`."""

from __future__ import annotations

import asyncio
import sys

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.postgres import open_pool
from chatledger_outreach import campaign_tasks
from chatledger_outreach.assembly import wired
from chatledger_outreach.jobs import with_search_path
from chatledger_outreach.sweep import Sweep
from tests.support.outreach import with_terms


async def work(url: str) -> None:
    """Say that it is ready, and do what is due until somebody ends the process."""
    pool = await open_pool(with_search_path(url), connections_max=6)
    outreach = await wired(pool, with_terms(quiet_from=0, quiet_until=0), clock=SystemClock())
    sources = [campaign_tasks.register(outreach)]
    sweep = Sweep(pool=pool, jobs=outreach.jobs, clock=outreach.clock, sources=sources)
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(outreach.jobs.run(asyncio.Event(), concurrency=2))
        group.create_task(sweep.run())


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
