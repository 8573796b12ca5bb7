"""The process of billing: `chatledger-billing`, or `python -m chatledger_billing`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_billing.app import run
from chatledger_billing.settings import BillingSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("billing", BillingSettings, run))


if __name__ == "__main__":
    main()
