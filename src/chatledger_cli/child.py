"""Runs one service's module and ends it when the program that started it is gone.

`python -m chatledger_cli.child chatledger_dialog`. Standard input is a pipe that the supervisor holds open and never
writes to; the kernel closes it even when the supervisor is killed with SIGKILL, on every platform alike.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

DRAIN_TIMEOUT_S = 15.0
"""How long an orphan may take to end in order; longer than any service's own bound."""


def main() -> None:
    """Run the module that the first argument names, as `python -m` would."""
    module = sys.argv[1]
    threading.Thread(target=_end_when_alone, name="parent-watch", daemon=True).start()
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_when_alone() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_TIMEOUT_S)
    os._exit(1)


if __name__ == "__main__":
    main()
