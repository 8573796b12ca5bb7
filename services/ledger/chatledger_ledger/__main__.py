"""The recorder's process: `chatledger-ledger`, or `python -m chatledger_ledger`."""

from __future__ import annotations

import asyncio
import signal
import sys

import prometheus_client
import structlog
import uvloop
from pydantic import ValidationError

from chatledger.errors import ConfigurationError
from chatledger.logs import configure_logs
from chatledger_ledger.app import run
from chatledger_ledger.settings import LedgerSettings

EXIT_FAILED, EXIT_CONFIGURATION = 1, 2


def main() -> None:
    """Record until SIGTERM or SIGINT. Exit code 0 then, 2 for a wrong configuration, 1 for anything else."""
    try:
        settings = LedgerSettings()  # type: ignore[call-arg]  # pydantic reads them from the environment
        configure_logs("ledger", settings.log_level)
        if settings.metrics_port:
            prometheus_client.start_http_server(settings.metrics_port)
        uvloop.run(_until_stopped(settings))
    except ValidationError as wrong:
        missing = ", ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors())
        _give_up(f"settings: {missing}; see deploy/settings.example.env", EXIT_CONFIGURATION)
    except ConfigurationError as wrong:
        _give_up(str(wrong), EXIT_CONFIGURATION)
    except Exception:
        structlog.get_logger().exception("the recorder ends")
        sys.exit(EXIT_FAILED)


async def _until_stopped(settings: LedgerSettings) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    await run(broker=settings.broker, database=settings.database, incarnation=settings.incarnation, stop=stop)


def _give_up(message: str, code: int) -> None:
    print(f"chatledger-ledger: {message}", file=sys.stderr)  # noqa: T201  # before logs are set up, to a person
    sys.exit(code)


if __name__ == "__main__":
    main()
