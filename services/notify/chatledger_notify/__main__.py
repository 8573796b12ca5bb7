"""The process of notify: `chatledger-notify`, or `python -m chatledger_notify`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_notify.app import run
from chatledger_notify.settings import NotifySettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("notify", NotifySettings, run))


if __name__ == "__main__":
    main()
