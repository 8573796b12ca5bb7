"""Places where a test lets the process die, named by the environment.

Between the provider's answer and its record, and between the record of reports and its publication.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

AFTER_SEND = "notify.after_send"
AFTER_FOLD = "notify.after_fold"
EXIT_STATUS = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Failpoint:
    """The name of the point to die at; with `once`, only while that file is not there, and it is made first."""

    name: str
    once: Path | None = None

    def reached(self, name: str) -> None:
        """End the process at once, as a kill -9 would, where this is the point."""
        if name != self.name:
            return
        if self.once is not None:
            try:
                self.once.touch(exist_ok=False)
            except FileExistsError:
                return
        os._exit(EXIT_STATUS)
