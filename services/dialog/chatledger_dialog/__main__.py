"""The dialog worker's process: `python -m chatledger_dialog`, or `chatledger-dialog`.

Reads the settings, runs until SIGTERM or SIGINT, and ends with 0 after a drain, 2 for a wrong configuration (one line
on standard error says what to do), 1 for anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_DRAINED, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 2


def main() -> None:
    """Run the worker and end the process with its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # The imports below take a second, in which there is nothing to drain.
        signal.signal(number, _leave)
    code = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # not sys.exit: a thread of Faust that hangs must not keep a dead worker alive


def _run() -> int:
    import asyncio

    import structlog
    import uvloop
    from pydantic import ValidationError

    from chatledger.errors import ConfigurationError
    from chatledger.logs import configure_logs
    from chatledger.project_files import load_projects
    from chatledger_dialog.app import run
    from chatledger_dialog.settings import DialogSettings

    async def work() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(settings, projects, stop=stop)

    try:
        settings = DialogSettings()  # type: ignore[call-arg]  # the environment has the rest
        projects = load_projects(settings.projects)
        configure_logs("dialog", settings.log_level)
        # The policy, not only our loop: Faust's consumer thread makes its own loop by it.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(work())
    except ValidationError as wrong:
        for each in wrong.errors(include_url=False, include_input=False):
            name = "_".join(map(str, each["loc"])).upper().removeprefix("CHATLEDGER_")
            sys.stderr.write(f"dialog: CHATLEDGER_{name}: {each['msg']}\n")
        return EXIT_CONFIGURATION
    except ConfigurationError as wrong:
        sys.stderr.write(f"dialog: {wrong}\n")
        return EXIT_CONFIGURATION
    except Exception:
        structlog.get_logger().exception("dialog ends; nothing of the batch in hand is acknowledged")
        return EXIT_FAILED
    return EXIT_DRAINED


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_DRAINED)


if __name__ == "__main__":
    main()
