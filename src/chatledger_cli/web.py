"""The one HTTP port of `chatledger up`: the ingress, the APIs of billing, outreach and history, and /whatsapp/health.

`python -m chatledger_cli.web DESCRIPTOR` serves on a socket that the supervisor has opened, so that the port stays
ours, and connections wait instead of being refused, while this process is started again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import Depends, FastAPI, Request

from chatledger.access import Principal, Scope
from chatledger.adapters.api_keys import opened_key_ring
from chatledger.adapters.ledger_feed import LedgerFeed
from chatledger.adapters.ledger_reader import ROLE as READER
from chatledger.adapters.postgres import open_pool
from chatledger.http_api import Guard, Refused, project_for
from chatledger.http_problems import problem_of_status
from chatledger.process import run_process
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_billing import api as billing_api
from chatledger_billing.commands import BillingCommands
from chatledger_billing.read_model import ReadModel
from chatledger_cli import whatsapp_health
from chatledger_cli.kinds import KINDS, numbers_in
from chatledger_cli.services import services_of
from chatledger_cli.whatsapp_health import WhatsappHealth
from chatledger_ingress.assembly import opened
from chatledger_ingress.secrets import is_loopback, read_secrets
from chatledger_ingress.server import serve
from chatledger_ingress.settings import IngressSettings
from chatledger_ledger import api as history_api
from chatledger_ledger import feed_api
from chatledger_ledger.time_travel import TimeTravel

HISTORY_CONNECTIONS_MAX = 4
"""A question about the past is a few short queries."""


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    sys.exit(run_process("web", IngressSettings, run))


async def run(settings: IngressSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; what was acknowledged is in the broker when this returns."""
    projects = load_projects(settings.projects)
    listener = socket.socket(fileno=int(sys.argv[1]))
    async with application(settings, projects, os.environ, stop=stop) as app:
        await serve(app, listener, stop, drain_timeout_s=settings.drain_timeout_s)


@asynccontextmanager
async def application(
    settings: IngressSettings,
    projects: Mapping[str, Project],
    environment: Mapping[str, str],
    *,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[FastAPI]:
    """Yield everything that is behind the port; `stop` ends the streams that would never end by themselves.

    Raises OutsideUnavailable when Postgres does not answer.
    """
    database = settings.database
    assert database is not None, "the supervisor gives it"
    services = services_of(projects)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(opened(settings, projects, read_secrets(projects, environment)))
        guard = Guard(await stack.enter_async_context(opened_key_ring(database)))
        read_model = await stack.enter_async_context(ReadModel(database))
        reading = [] if is_loopback(settings.host) else [Depends(_reader(guard))]
        app.include_router(billing_api.router(read_model), dependencies=reading)
        commands = await stack.enter_async_context(BillingCommands(database, projects))
        app.include_router(billing_api.whatsapp_router(read_model, commands, guard))
        if "outreach" in services:
            await _add_outreach(app, stack, database, projects, guard)
        health = WhatsappHealth(
            broker=settings.broker, incarnation=settings.incarnation, database=database, services=services
        )
        app.include_router(whatsapp_health.router(await stack.enter_async_context(health), guard))
        await _add_history(app, stack, database, read_model, guard)
        feed = await stack.enter_async_context(LedgerFeed(database, stop=stop))
        app.include_router(feed_api.router(feed, guard))
        yield app


async def _add_history(app: FastAPI, stack: AsyncExitStack, database: str, read_model: ReadModel, guard: Guard) -> None:
    ledger = await open_pool(database, connections_max=HISTORY_CONNECTIONS_MAX, role=READER)
    stack.push_async_callback(ledger.close)
    travel = TimeTravel(ledger, KINDS, numbers=numbers_in(read_model))
    app.include_router(history_api.router(travel, guard))


async def _add_outreach(
    app: FastAPI, stack: AsyncExitStack, database: str, projects: Mapping[str, Project], guard: Guard
) -> None:
    # Imported here: where no project has reminders, the libraries of jobs and templates are not loaded.
    from chatledger_outreach import api as outreach_api
    from chatledger_outreach.assembly import opened as outreach_opened

    outreach = await stack.enter_async_context(outreach_opened(database, projects))
    app.include_router(outreach_api.router(outreach, guard))


def _reader(guard: Guard) -> Callable[..., Awaitable[None]]:
    """Return the check of who reads orders and invoices from beyond this machine; those routes know nothing of keys."""
    may_read = guard(Scope.READ)

    async def allowed(request: Request, caller: Principal = Depends(may_read)) -> None:
        asked_for = request.query_params.get("project")
        if project_for(caller, asked_for) != asked_for:
            raise Refused(problem_of_status(403, f"this key is for one project alone: add ?project={caller.project}"))

    return allowed


if __name__ == "__main__":
    main()
