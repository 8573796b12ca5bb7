"""The process of outreach: `chatledger-outreach`, or `python -m chatledger_outreach`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_outreach.app import run
from chatledger_outreach.settings import OutreachSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("outreach", OutreachSettings, run))


if __name__ == "__main__":
    main()
