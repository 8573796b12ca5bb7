"""What the worker and the HTTP API both work with, put together; it imports nothing of the broker or of the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.postgres import Pool, migrate, open_pool
from chatledger.ports import Clock
from chatledger.projects import Project
from chatledger_outreach.jobs import Jobs, set_up_jobs, with_search_path
from chatledger_outreach.journal import Journal
from chatledger_outreach.parts import Outreach, with_outreach

SCHEMA = "outreach"
PACKAGE = "chatledger_outreach"
API_CONNECTIONS_MAX = 4


async def set_up_database(url: str) -> None:
    """Make or bring up to date the schemas of this service and of its jobs; several processes may do so at once."""
    await migrate(url, schema=SCHEMA, package=PACKAGE)
    await set_up_jobs(url)


@asynccontextmanager
async def opened(
    database_url: str, projects: Mapping[str, Project], *, clock: Clock | None = None
) -> AsyncIterator[Outreach]:
    """Give what the HTTP API works with. The service itself need not run; it publishes what was decided here.

    Raises OutsideUnavailable when Postgres does not answer.
    """
    await set_up_database(database_url)
    pool = await open_pool(with_search_path(database_url), connections_max=API_CONNECTIONS_MAX)
    try:
        yield await wired(pool, projects, clock=clock or SystemClock())
    finally:
        await pool.close()


async def wired(
    pool: Pool, projects: Mapping[str, Project], *, clock: Clock, committed: Callable[[], None] = lambda: None
) -> Outreach:
    """Put together what works on the tables. The pool's connections need the search path of the jobs."""
    jobs = Jobs(pool)
    await jobs.open()
    return Outreach(
        pool=pool,
        journal=Journal(pool),
        jobs=jobs,
        projects=with_outreach(projects),
        clock=clock,
        committed=committed,
    )
