"""Ends a process whose event loop stands still, with the stack of every thread on standard error.

A thread counts its own seconds since the loop last said that it is alive. So a process that was itself stopped, or a
machine that slept, is not taken for stuck: its seconds did not pass either, and the broker tells it what it lost.
`faulthandler.dump_traceback_later` does neither: it goes by the clock, and it reads the stacks of threads that run on,
which may crash the process (https://github.com/python/cpython/issues/116008).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading

from chatledger.process import EXIT_FAILED

TICK_S = 1.0


class Watchdog:
    """Watches for as long as it is entered; `alive` has to be called at least every `patience_s` seconds."""

    def __init__(self, patience_s: float) -> None:
        self._ticks_max = patience_s / TICK_S
        self._ticks = 0
        self._left = threading.Event()

    def alive(self) -> None:
        """Say that the loop turns."""
        self._ticks = 0

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._left.set()

    def _watch(self) -> None:
        while not self._left.wait(TICK_S):
            self._ticks += 1
            if self._ticks > self._ticks_max:
                sys.stderr.write(f"The event loop has stood still for {self._ticks * TICK_S:.0f} s.\n")
                sys.stderr.flush()
                # This thread holds the interpreter's lock: no stack changes while it is written.
                faulthandler.dump_traceback()
                os._exit(EXIT_FAILED)
