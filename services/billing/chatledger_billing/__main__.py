"""`python -m chatledger_billing`: reads the settings, runs until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog
import uvloop
from prometheus_client import start_http_server
from pydantic import ValidationError

from chatledger.errors import ConfigurationError
from chatledger.logs import configure_logs
from chatledger.project_files import load_projects
from chatledger_billing.app import run
from chatledger_billing.settings import SERVICE, BillingSettings


def main() -> None:
    """Run the service. Exit code 0 after a signal, 2 when the configuration is wrong, 1 for anything else."""
    try:
        settings = BillingSettings.model_validate({})
        configure_logs(SERVICE, settings.log_level)
        uvloop.run(_run(settings))
    except ConfigurationError as wrong:
        sys.exit(_refusal(str(wrong)))
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        sys.exit(_refusal(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; set it in the environment"))
    except Exception:
        structlog.get_logger().exception("billing ends")
        sys.exit(1)


async def _run(settings: BillingSettings) -> None:
    projects = load_projects(settings.projects)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(
        broker=settings.broker,
        database=settings.database,
        incarnation=settings.incarnation,
        projects=projects,
        stop=stop,
    )


def _refusal(message: str) -> int:
    sys.stderr.write(f"chatledger-billing: {message}\n")
    return 2


if __name__ == "__main__":
    main()
