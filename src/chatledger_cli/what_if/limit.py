"""A decision with a limit of time; whatever goes wrong in it is told with file and line.

Imports the flows, so it is imported after the changed ones were laid over them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from mmap import mmap
from pathlib import Path
from types import FrameType
from typing import Any

from chatledger.conversation import Conversation
from chatledger.errors import ChatledgerError, ConfigurationError
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.projects import Project
from chatledger.what_if import DecisionFailed, Failure
from chatledger.what_if.comparing import Decide
from chatledger_cli.what_if.guard import CallsOutside, place_of
from chatledger_cli.what_if.pipe import MARK_BYTES, NO_MARK

TOO_LONG_MAX = 3
"""After so many decisions that took too long nobody waits for the rest: it would be hours."""


class _TookTooLong(BaseException):
    """Raised in the flow's own code, past its `except Exception`."""


class Limited:
    """`decide`, as a Comparison calls it. It rings by SIGALRM, so it is for one main thread of one process.

    `mark` is memory that another process sees: the id of the input that is in hand stands there, so that it can be told
    where this process dies of it.
    """

    def __init__(self, decide: Decide, *, limit_s: float, files: Iterable[Path], mark: mmap) -> None:
        self._decide = decide
        self._limit_s = limit_s
        self._files = [str(file) for file in files]
        self._mark = mark
        self._took_too_long = 0
        self._deciding = False
        signal.signal(signal.SIGALRM, self._ring)

    def __call__(self, state: Conversation, cause: Envelope, project: Project) -> list[Event]:
        """Decide. Raises DecisionFailed, and ConfigurationError where the flow takes too long again and again."""
        self._mark[:] = cause.id.encode()[:MARK_BYTES].ljust(MARK_BYTES)
        self._deciding = True
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)
        try:
            decided: Any = self._decide(state, cause, project)
        except _TookTooLong as late:
            raise self._too_long(late) from None
        except (Exception, SystemExit) as error:
            raise DecisionFailed(self._failure(error)) from error
        finally:
            self._deciding = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._mark[:] = NO_MARK
        if not isinstance(decided, list) or not all(isinstance(each, Event) for each in decided):
            returned = f"it returned no list of events but {type(decided).__name__}"
            raise DecisionFailed(Failure(error=returned, place=f"the flow {project.flow}"))
        return decided

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._deciding:
            raise _TookTooLong

    def _too_long(self, late: _TookTooLong) -> Exception:
        self._took_too_long += 1
        error, place = f"it took longer than {self._limit_s:g} s", place_of(late, self._files, but=__file__)
        if self._took_too_long < TOO_LONG_MAX:
            return DecisionFailed(Failure(error=error, place=place))
        return ConfigurationError(
            f"{TOO_LONG_MAX} times {error}, now at {place}: mend it, or give it more by --limit-s"
        )

    def _failure(self, error: BaseException) -> Failure:
        """Our own errors speak for themselves; what another one says may quote the client."""
        if isinstance(error, ChatledgerError | CallsOutside):
            return Failure(error=f"{type(error).__name__}: {error}", place=place_of(error, self._files))
        return Failure(error=type(error).__name__, place=place_of(error, self._files), text=str(error))
