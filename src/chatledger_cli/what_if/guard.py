"""What flow code may not reach while history is decided again, and where it failed. Needs nothing but Python.

This keeps accidents apart from the record: a flow that calls a model or a shop's API is told so. It is no prison for
hostile code, which belongs on no machine with data.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from typing import Any

OUTSIDE = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn")
"""Audit events of what reaches beyond the process; reading a file is none of them, since modules are read."""


class CallsOutside(Exception):
    """A flow is a pure decision: what it needs of the outside comes to it as an event."""


def close_the_outside() -> None:
    """Refuse, from now on and for good, whatever opens a connection or starts a program."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(OUTSIDE):
            raise CallsOutside(f"{event}: {(CallsOutside.__doc__ or '').strip()}")

    sys.addaudithook(refuse)


def place_of(error: BaseException, files: Iterable[str], *, but: str = "") -> str:
    """Return file, line and function: where in the changed files it happened, or else where at all, `but` not there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    changed = {*files}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != but]
    known = [frame for frame in frames if frame.filename in changed] or frames
    return f"{known[-1].filename}, line {known[-1].lineno}, in {known[-1].name}" if known else "an unknown place"
