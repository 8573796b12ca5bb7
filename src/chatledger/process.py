"""A service's process, the same for every service: settings, logs, metrics, signals, and one exit code.

0 after SIGTERM or SIGINT and a drain; 2 when the configuration is not usable, with one line on standard error that says
what to do; 75 (the EX_TEMPFAIL of sysexits.h) when a broker or a database is away, so that trying later helps; 1 for
anything else. What it was is in the log.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop
from prometheus_client import start_http_server

from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.logs import configure_logs
from chatledger.settings import CommonSettings, read_settings

EXIT_DRAINED, EXIT_FAILED, EXIT_CONFIGURATION, EXIT_AWAY = 0, 1, 2, 75

Settings = TypeVar("Settings", bound=CommonSettings)
Run = Callable[[Settings, asyncio.Event], Awaitable[None]]


def run_process(service: str, settings_class: type[Settings], run: Run[Settings]) -> int:
    """Run `run(settings, stop)` until it returns, which it does soon after `stop` is set. Return the exit code."""
    try:
        settings = read_settings(settings_class)
        configure_logs(service, settings.log_level)
        # The policy, not only this loop: a library's thread that makes its own loop makes it by the policy.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(_until_signalled(settings, run))
    except ConfigurationError as wrong:
        return _refuse(service, str(wrong))
    except Exception as wrong:
        structlog.get_logger().exception("process.failed")
        return exit_code_of(wrong)
    structlog.get_logger().info("process.drained")
    return EXIT_DRAINED


def exit_code_of(wrong: Exception) -> int:
    """Return the exit code of a process that ends with `wrong`."""
    if isinstance(wrong, ExceptionGroup):
        return EXIT_AWAY if {exit_code_of(each) for each in wrong.exceptions} == {EXIT_AWAY} else EXIT_FAILED
    return EXIT_AWAY if isinstance(wrong, OutsideUnavailable) else EXIT_FAILED


async def _until_signalled(settings: Settings, run: Run[Settings]) -> None:
    if settings.metrics_port:
        try:
            start_http_server(settings.metrics_port)
        except (OSError, OverflowError) as wrong:
            raise ConfigurationError(
                f"cannot serve metrics on port {settings.metrics_port}: {wrong}; set CHATLEDGER_METRICS_PORT"
            ) from wrong
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


def _refuse(service: str, message: str) -> int:
    sys.stderr.write(f"chatledger-{service}: {message}\n")
    return EXIT_CONFIGURATION
