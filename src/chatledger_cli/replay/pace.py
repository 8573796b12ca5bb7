"""The recorded pace: when each event is due, by the gaps between the times at which events were recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from chatledger.errors import ConfigurationError

_SPEED = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*x?", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
FULL_SPEED = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`speed` is how many times as fast as recorded; `gap_max_s` the longest wait between two events, in real time."""

    speed: float
    gap_max_s: float | None = None


class Schedule:
    """When events are due. Each is counted from the first, so that small delays do not add up."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._previous: datetime | None = None
        self._due_s = 0.0

    def due_s(self, recorded_at: datetime) -> float:
        """Return how many seconds after the first event this one, the next in order, is due."""
        if self._previous is not None:
            gap_s = max(0.0, (recorded_at - self._previous).total_seconds()) / self._pace.speed
            self._due_s += gap_s if self._pace.gap_max_s is None else min(gap_s, self._pace.gap_max_s)
        self._previous = recorded_at
        return self._due_s


def read_pace(speed: str, gap_max: str | None) -> Pace | None:
    """Read --speed and --gap-max; None is full speed. Raises ConfigurationError that says which forms there are."""
    if speed.strip().lower() == FULL_SPEED:
        if gap_max is not None:
            raise ConfigurationError("--gap-max shortens the waits of a recorded pace: give --speed 1x with it")
        return None
    found = _SPEED.fullmatch(speed.strip())
    if found is None or float(found[1]) == 0:
        raise ConfigurationError(f"--speed {speed!r} is no pace: write 10x, 1x, 0.5x, or max for as fast as it goes")
    return Pace(speed=float(found[1]), gap_max_s=None if gap_max is None else _read_span(gap_max))


def _read_span(text: str) -> float:
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"--gap-max {text!r} is no length of time: write 500ms, 5s, 2m or 1h")
    return float(found[1]) * _SECONDS[found[2]]
