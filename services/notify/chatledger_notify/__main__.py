"""The process: settings in, everything started and stopped in order, an exit status out.

0 after SIGTERM or SIGINT and a drain; 2 when the configuration is not usable; 1 for anything else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import httpx
import structlog
import uvloop
from prometheus_client import start_http_server
from pydantic import ValidationError

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import KafkaPublisher, KafkaSubscription, cluster_id, new_consumer, start_producer
from chatledger.adapters.postgres import migrate, open_pool
from chatledger.errors import ConfigurationError
from chatledger.logs import configure_logs
from chatledger.project_files import load_projects
from chatledger.topics import DIALOG
from chatledger_notify.app import build
from chatledger_notify.provider import Accounts
from chatledger_notify.settings import NotifySettings, accounts_of
from chatledger_notify.store import PACKAGE, SCHEMA
from chatledger_notify.transport import AiohttpTransport

GROUP = "chatledger-notify"
CONNECTIONS_MAX = 6

_log = structlog.get_logger()


def main() -> None:
    """Run the service until it is told to stop; ends the process with the status above."""
    try:
        settings = NotifySettings()  # type: ignore[call-arg]  # pydantic reads them from the environment
        configure_logs("notify", settings.log_level)
        accounts = accounts_of(load_projects(settings.projects), os.environ)
        uvloop.run(_run(settings, accounts))
    except (ConfigurationError, ValidationError) as wrong:
        print(f"chatledger-notify: {_one_line(wrong)}", file=sys.stderr)  # noqa: T201  # for the operator's eyes
        sys.exit(2)
    except Exception:
        _log.exception("notify_ended")
        sys.exit(1)


async def _run(settings: NotifySettings, accounts: Accounts) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for project, channel in (account for account, secrets in accounts.items() if secrets is None):
        _log.warning("no_token", project=project, channel=channel, hint="its messages wait until the token is set")
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    await migrate(settings.database, schema=SCHEMA, package=PACKAGE)
    incarnation = settings.incarnation or await cluster_id(settings.broker)
    pool = await open_pool(settings.database, connections_max=CONNECTIONS_MAX)
    producer = await start_producer(settings.broker)
    consumer = new_consumer(settings.broker, group=GROUP)
    transport = AiohttpTransport(connections_max=settings.notify_concurrency, timeout_s=settings.notify_timeout_s)
    client = httpx.AsyncClient(transport=transport, timeout=settings.notify_timeout_s, trust_env=False)
    try:
        service = build(
            pool=pool,
            database_url=settings.database,
            publisher=KafkaPublisher(producer),
            client=client,
            accounts=accounts,
            incarnation=incarnation,
            clock=SystemClock(),
            schedule=settings.schedule(),
            concurrency=settings.notify_concurrency,
            failpoint=settings.failpoint_or_none(),
        )
        subscription = KafkaSubscription(consumer, topics=[DIALOG], positions=service.positions)
        await consumer.start()
        _log.info("notify_started", incarnation=incarnation)
        await service.run(subscription, stop)
        _log.info("notify_drained")
    finally:
        await consumer.stop()
        await producer.stop()
        await client.aclose()
        await pool.close()


def _one_line(wrong: Exception) -> str:
    if isinstance(wrong, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors())
    return str(wrong)


if __name__ == "__main__":
    main()
