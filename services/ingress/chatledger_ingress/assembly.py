"""The ingress over real connections: a Kafka producer, and the checks of /health. Opened and closed as one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import start_producer
from chatledger.projects import Project
from chatledger_ingress.app import build
from chatledger_ingress.checks import DialogLag, PostgresChecks
from chatledger_ingress.health import Health
from chatledger_ingress.producer import RenewingPublisher
from chatledger_ingress.secrets import Secrets
from chatledger_ingress.settings import IngressSettings


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
