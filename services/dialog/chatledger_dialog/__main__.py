"""The process of the dialog worker: `chatledger-dialog`, or `python -m chatledger_dialog`.

It ends by `os._exit`, not by returning: a thread of Faust that hangs must not keep a dead worker alive. For the same
reason it ends inside the event loop, which would wait for Faust's tasks: one of them gives its thread a minute.
"""

from __future__ import annotations

import asyncio
import os
import sys

import structlog

from chatledger.errors import ConfigurationError
from chatledger.process import EXIT_DRAINED, exit_code_of, run_process
from chatledger_dialog.app import run
from chatledger_dialog.settings import SERVICE, DialogSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    _end(run_process(SERVICE, DialogSettings, _run_and_end))


async def _run_and_end(settings: DialogSettings, stop: asyncio.Event) -> None:
    try:
        await run(settings, stop)
    except ConfigurationError:
        raise
    except Exception as wrong:
        structlog.get_logger().exception("process.failed")
        _end(exit_code_of(wrong))
    structlog.get_logger().info("process.drained")
    _end(EXIT_DRAINED)


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
