"""The ingress over real connections: its secrets, a socket, a Kafka producer, and the checks of /health."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import start_producer
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_ingress.app import build
from chatledger_ingress.checks import DialogLag, PostgresChecks
from chatledger_ingress.health import Health
from chatledger_ingress.producer import RenewingPublisher
from chatledger_ingress.secrets import Secrets, open_doors, read_secrets, shut_doors, variables_of
from chatledger_ingress.server import listen, serve
from chatledger_ingress.settings import IngressSettings

log = structlog.get_logger()


async def run(settings: IngressSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; what was acknowledged is in the broker when this returns.

    Raises ConfigurationError when a project file is wrong, the address is taken, or strangers could post.
    """
    projects = load_projects(settings.projects)
    secrets = read_secrets(projects, os.environ)
    for door in open_doors(projects, secrets, host=settings.host):
        log.warning("webhook.unguarded", project=door.project, channel=door.channel, host=settings.host)
    for door in shut_doors(projects, secrets):
        variable = variables_of(projects[door.project], door.channel).webhook_token
        log.warning("webhook.shut", project=door.project, channel=door.channel, until_set=variable)
    listener = listen(settings.host, settings.port)
    async with opened(settings, projects, secrets) as app:
        log.info("ingress.listening", host=settings.host, port=listener.getsockname()[1])
        await serve(app, listener, stop, drain_timeout_s=settings.drain_timeout_s)


@asynccontextmanager
async def opened(
    settings: IngressSettings, projects: Mapping[str, Project], secrets: Secrets
) -> AsyncIterator[FastAPI]:
    """Yield the application; other services' routers may be included in it before it is served.

    A broker that is away does not keep it from starting: webhooks are answered 503 until it is back.
    """
    publisher = RenewingPublisher(lambda: start_producer(settings.broker))
    lag = DialogLag(settings.broker)
    await publisher.start()
    try:
        yield build(
            projects=projects,
            publisher=publisher,
            clock=SystemClock(),
            secrets=secrets,
            health=health_of(publisher, lag, settings.database),
            body_bytes_max=settings.body_bytes_max,
            public_base_url=settings.public_base_url,
        )
    finally:
        await lag.close()
        await publisher.stop()


def health_of(publisher: RenewingPublisher, lag: DialogLag, database: str | None) -> Health:
    """Return the checks over real connections; without a database, Postgres is not asked."""
    postgres = PostgresChecks(database) if database else None
    return Health(
        broker=publisher.check,
        postgres=postgres.answers if postgres else None,
        message_queue=lag,
        outbox_queue=postgres.outbox if postgres else None,
    )
