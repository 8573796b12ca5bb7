"""The process of the dialog worker: `chatledger-dialog`, or `python -m chatledger_dialog`.

It ends by `os._exit`, not by returning: a thread of Faust that hangs must not keep a dead worker alive.
"""

from __future__ import annotations

import os
import sys

from chatledger.process import run_process
from chatledger_dialog.app import run
from chatledger_dialog.settings import SERVICE, DialogSettings


def main() -> None:
    """Run until SIGTERM or SIGINT, and end with the exit code that chatledger.process describes."""
    code = run_process(SERVICE, DialogSettings, run)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
