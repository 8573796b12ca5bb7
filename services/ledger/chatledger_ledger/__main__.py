"""The process of the recorder: `chatledger-ledger`, or `python -m chatledger_ledger`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_ledger.app import run
from chatledger_ledger.settings import LedgerSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("ledger", LedgerSettings, run))


if __name__ == "__main__":
    main()
