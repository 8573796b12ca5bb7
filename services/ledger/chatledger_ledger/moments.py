"""A moment of history: by recorded time, by position, or now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chatledger.ports import LedgerEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was recorded by then: up to a position and including it, up to a recorded time, or all of it."""

    position: int | None = None
    time: datetime | None = None

    def includes(self, event: LedgerEvent) -> bool:
        """Whether the event was recorded by then."""
        return (self.position is None or event.position <= self.position) and (
            self.time is None or event.recorded_at <= self.time
        )

    def is_after(self, other: Moment) -> bool:
        """Whether this is surely the later one; of a time and a position that cannot be told."""
        if self.position is not None and other.position is not None:
            return self.position > other.position
        if self.time is not None and other.time is not None:
            return self.time > other.time
        return self == NOW and other != NOW


NOW = Moment()
