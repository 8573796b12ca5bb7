"""Jobs that are due later, kept by procrastinate in Postgres. A job only wakes: the rows say what is to be done.

procrastinate's tables have a schema of their own in the same database, which connections find by their search path
(`with_search_path`). So a job is deferred within the transaction that decides it, and is there with it or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import psycopg
from procrastinate import App, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chatledger.adapters.postgres import Connection, Pool, unreadable_url
from chatledger.errors import OutsideUnavailable

SCHEMA = "procrastinate"
QUEUE = "outreach"
POLL_S = 1.0
"""How often jobs whose time has come are looked for; a job that is due at once is told of by Postgres."""
STOP_TIMEOUT_S = 10.0
"""How long jobs in hand may take when the service stops; then they are given up, and done by the next process."""
RETRY = RetryStrategy(max_attempts=8, exponential_wait=2)
"""2, 4, 8 ... 256 seconds after an error; beyond that the sweep finds what is still to be done."""
STALLED_AFTER_S = 60
"""A worker that has shown no sign of life for so long is gone, and its jobs with it."""

Task = Callable[..., Awaitable[None]]
"""What a job does, given the arguments that it was deferred with. Doing it twice must be as doing it once."""


def with_search_path(url: str) -> str:
    """Return the URL, as a connection string, whose connections see procrastinate's tables."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as wrong:
        raise unreadable_url(wrong) from wrong
    options = f"{parts.get('options') or ''} -c search_path={SCHEMA},public".strip()
    return make_conninfo(url, options=options)


async def set_up_jobs(url: str) -> None:
    """Make procrastinate's tables where they are not there; several processes may do so at once.

    Raises OutsideUnavailable when Postgres does not answer.
    """
    try:
        async with await AsyncConnection.connect(url) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('chatledger migrations'))")
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            found = await connection.execute(f"SELECT to_regclass('{SCHEMA}.procrastinate_jobs')")
            row = await found.fetchone()
            if row is None or row[0] is None:
                await connection.execute(f"SET LOCAL search_path = {SCHEMA}")
                await connection.execute(SchemaManager.get_schema().encode())
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong


class Jobs:
    """Defers jobs, and runs them where `run` is called. The pool's connections need the search path."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._app = App(connector=PsycopgConnector())

    async def open(self) -> None:
        """Begin; whoever opened the pool closes it."""
        await self._app.open_async(pool=self._pool)

    def add(self, name: str, task: Task) -> None:
        """Say what jobs called `name` do. A task that raises is tried again later."""
        self._app.task(name=name, queue=QUEUE, retry=RETRY)(task)

    async def defer(
        self, connection: Connection | None, task: str, at: datetime | None, queueing_lock: str, **arguments: str | int
    ) -> bool:
        """Have `task` done at a time (None: at once), with these arguments.

        With a `connection`, within its transaction. Returns False, and does nothing, where a job with this
        `queueing_lock` is waiting already, for whatever time.
        """
        deferrer = self._app.configure_task(
            task, queue=QUEUE, schedule_at=at, queueing_lock=queueing_lock, connection=connection
        )
        try:
            if connection is None:
                await deferrer.defer_async(**arguments)
            else:
                async with connection.transaction():
                    await deferrer.defer_async(**arguments)
        except AlreadyEnqueued:
            return False
        return True

    async def forget_stalled(self) -> int:
        """Delete the jobs that died with their worker; the rows tell what they left undone. Returns how many."""
        manager = self._app.job_manager
        stalled = list(await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=STALLED_AFTER_S))
        for job in stalled:
            await manager.finish_job(job, status=Status.FAILED, delete_job=True)
        return len(stalled)

    async def run(self, stop: asyncio.Event, *, concurrency: int = 8) -> None:
        """Do jobs as they come due until `stop` is set; jobs in hand are finished. Raises OutsideUnavailable."""
        worker = asyncio.ensure_future(
            self._app.run_worker_async(
                queues=[QUEUE],
                concurrency=concurrency,
                fetch_job_polling_interval=POLL_S,
                shutdown_graceful_timeout=STOP_TIMEOUT_S,
                delete_jobs="successful",
                install_signal_handlers=False,
            )
        )
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([worker, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            worker.cancel()
            await asyncio.wait([worker])
        if stop.is_set():
            return
        wrong = None if worker.cancelled() else worker.exception()
        if wrong is None or isinstance(wrong, ConnectorException | psycopg.Error):
            raise OutsideUnavailable(f"the job worker lost its database: {wrong}") from wrong
        raise wrong
