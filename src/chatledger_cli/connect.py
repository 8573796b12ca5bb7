"""Where the history commands find ledger and broker: the environment, what `chatledger up` runs, the data folder.

Nothing here knows a channel's credentials. An embedded Postgres that does not run is started for the command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil
import psycopg

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import Pool, open_pool, unreadable_url
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.settings import read_settings
from chatledger_cli.running import POSTGRES_FOLDER, UpState, read_state
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.verification import BrokerAddress

IS_THERE = "SELECT to_regclass('ledger.events') IS NOT NULL"


def running_up(settings: UpSettings) -> UpState | None:
    """What `chatledger up` runs on this data folder; None when it does not, or was killed."""
    state = read_state(settings.data_dir)
    return state if state is not None and psutil.pid_exists(state.pid) else None


def broker_address(settings: UpSettings) -> BrokerAddress | None:
    """The broker that was asked for or that runs, or None."""
    if settings.broker:
        return BrokerAddress(bootstrap_servers=settings.broker, incarnation=settings.incarnation)
    state = running_up(settings)
    return BrokerAddress(bootstrap_servers=state.broker, incarnation=state.incarnation) if state else None


@contextlib.asynccontextmanager
async def server_url(settings: UpSettings) -> AsyncIterator[str]:
    """The URL of the database, whatever is in it, for the time of a `with`.

    Raises ConfigurationError where there is none, OutsideUnavailable where the embedded one does not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        state = running_up(settings)
        url = settings.database_url or (state.database if state else None)
        if url is None:
            folder = settings.data_dir / POSTGRES_FOLDER
            if not folder.exists():
                raise ConfigurationError(
                    f"there is no ledger in {settings.data_dir} yet: run `chatledger up` or `chatledger demo` here,"
                    " or name another place with CHATLEDGER_DATABASE or CHATLEDGER_DATA_DIR"
                )
            server = EmbeddedPostgres(folder)
            await asyncio.to_thread(server.start)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            url = server.url
        yield url


@contextlib.asynccontextmanager
async def database_url(settings: UpSettings) -> AsyncIterator[str]:
    """The URL of a database that has a ledger, for the time of a `with`.

    Raises ConfigurationError where there is none, OutsideUnavailable where it does not answer.
    """
    async with server_url(settings) as url:
        await _require_ledger(url)
        try:
            yield url
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"the ledger's database went away: {wrong}") from wrong


@contextlib.asynccontextmanager
async def ledger_pool(settings: UpSettings) -> AsyncIterator[Pool]:
    """A pool that may only read the ledger. Raises as `database_url` does."""
    async with database_url(settings) as url:
        pool = await open_pool(url, connections_max=2, role=ROLE)
        try:
            yield pool
        finally:
            await pool.close()


@contextlib.asynccontextmanager
async def ledger_reader() -> AsyncIterator[PostgresLedgerReader]:
    """The ledger, to be read. Raises as `database_url` does."""
    async with ledger_pool(read_settings(UpSettings)) as pool:
        yield PostgresLedgerReader(pool)


async def _require_ledger(url: str) -> None:
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=10) as connection:
            row = await (await connection.execute(IS_THERE)).fetchone()
            if row is None or not row[0]:
                raise ConfigurationError(
                    "this database has no ledger: name the right one with CHATLEDGER_DATABASE,"
                    " or start `chatledger up` on it"
                )
            await connection.execute(f"SET ROLE {ROLE}".encode())
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"the ledger's database does not answer: {wrong}") from wrong
    except psycopg.errors.InsufficientPrivilege as wrong:
        raise ConfigurationError(f"the database's user may not read the ledger: GRANT {ROLE} to it") from wrong
    except psycopg.ProgrammingError as wrong:
        raise unreadable_url(wrong) from wrong
