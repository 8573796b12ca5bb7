"""The process of the ingress: `chatledger-ingress`, or `python -m chatledger_ingress`."""

from __future__ import annotations

import sys

from chatledger.process import run_process
from chatledger_ingress.assembly import run
from chatledger_ingress.settings import IngressSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    sys.exit(run_process("ingress", IngressSettings, run))


if __name__ == "__main__":
    main()
