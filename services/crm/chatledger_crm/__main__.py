"""The process of crm: `chatledger-crm`, or `python -m chatledger_crm`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_crm.app import run
from chatledger_crm.settings import CrmSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("crm", CrmSettings, run))


if __name__ == "__main__":
    main()
