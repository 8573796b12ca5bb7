"""A circuit breaker around the calls to one outside service: after some failures in a row, no call is made for a while.

    closed ──failures_max in a row──▶ open ──pause_s──▶ half open ──the probe succeeds──▶ closed
                                       ▲                    │
                                       └──the probe fails───┘

The rules are those of the library purgatory. Three things are added to them, because calls overlap: half open lets
exactly one call through, a call's end counts only if the breaker has not changed since the call began, and the pause is
measured on the monotonic clock, which nobody sets back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

from purgatory.domain.messages.events import ContextChanged
from purgatory.domain.model import Context
from purgatory.typing import StateName

from chatledger import metrics
from chatledger.errors import BreakerOpen

T = TypeVar("T")

BreakerState = Literal["closed", "half_open", "open"]

STATES: Final[dict[StateName, BreakerState]] = {"closed": "closed", "half-opened": "half_open", "opened": "open"}
NUMBERS: Final[dict[BreakerState, int]] = {"closed": 0, "half_open": 1, "open": 2}

PROBE_S: Final = 1.0
"""What a call is told that meets a probe on its way: nobody knows when it ends, and it is cheap to ask again."""


class Breaker:
    """Guards one outside service. Made by `new_breaker`; belongs to one event loop."""

    __slots__ = ("_changed", "_clock", "_context", "_era", "_opened_at", "_probing", "failures_max", "name", "pause_s")

    def __init__(
        self,
        name: str,
        *,
        failures_max: int,
        pause_s: float,
        changed: Callable[[Breaker], None] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.name = name
        self.failures_max = failures_max
        self.pause_s = pause_s
        self._changed = changed
        self._clock = monotonic
        # The library would end the pause by the wall clock; an endless one leaves that to _due.
        self._context = Context(name, failures_max, math.inf)
        self._era = 0
        self._opened_at = -math.inf
        self._probing = False
        self._show()

    @property
    def state(self) -> BreakerState:
        """Closed, open, or half open. An open one stays open until a call comes after its pause."""
        return STATES[self._context.state]

    @property
    def failures(self) -> int:
        """How many calls have failed in a row; while it is not closed, those that opened it."""
        return (self._context.failure_count or 0) if self.state == "closed" else self.failures_max

    @property
    def retry_after_s(self) -> float:
        """How long until a call may be let through: 0 when one would be now."""
        if self.state == "open":
            return max(0.0, self._opened_at + self.pause_s - self._clock())
        return PROBE_S if self._probing else 0.0

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, unless the breaker is open: then raise BreakerOpen, and `work` is not called.

        An exception from `work` is a failure and is raised again. A cancelled call says nothing about the service.
        """
        self._let_through()
        era, probe = self._era, self._probing
        try:
            result = await work()
        except Exception as error:
            if era == self._era:
                self._context.handle_exception(error)
                self._moved()
            raise
        else:
            if era == self._era:
                self._context.handle_end_request()
                self._moved()
            return result
        finally:
            if probe and era == self._era:
                self._probing = False  # cancelled: the next call is the probe

    def _let_through(self) -> None:
        retry_after_s = self.retry_after_s
        if retry_after_s > 0:
            raise BreakerOpen(f"{self.name} is {self.state}: no call is made", retry_after_s=retry_after_s)
        if self.state == "open":
            self._context = Context(self.name, self.failures_max, math.inf, state="half-opened")
            self._begin_era()
        if self.state == "half_open":
            self._probing = True

    def _moved(self) -> None:
        """Tell what the library noted down, if anything."""
        if not self._context.messages:
            return
        changed_state = any(isinstance(message, ContextChanged) for message in self._context.messages)
        self._context.messages.clear()
        if changed_state:
            self._begin_era()
        elif self._changed is not None:
            self._changed(self)

    def _begin_era(self) -> None:
        self._era += 1
        self._probing = False
        if self.state == "open":
            self._opened_at = self._clock()
            metrics.BREAKER_OPENINGS.labels(self.name).inc()
        self._show()
        if self._changed is not None:
            self._changed(self)

    def _show(self) -> None:
        metrics.BREAKER_STATE.labels(self.name).set(NUMBERS[self.state])


def new_breaker(
    name: str,
    *,
    failures_max: int = 5,
    pause_s: float = 30.0,
    changed: Callable[[Breaker], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Breaker:
    """Return a closed breaker: `failures_max` failures in a row open it, and after `pause_s` a probe is let through.

    `changed` is called whenever the state or the number of failures has changed.
    """
    return Breaker(name, failures_max=failures_max, pause_s=pause_s, changed=changed, monotonic=monotonic)
