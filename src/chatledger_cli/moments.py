"""Moments as people write them: `2026-11-21 10:00`, `2026-11-21T10:00:00+02:00`, `-10m`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from chatledger.errors import ConfigurationError

_AGO = re.compile(r"-\s*(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_moment(text: str, now: datetime) -> datetime:
    """Return the moment in UTC. A time without an offset is this machine's local time.

    Raises ConfigurationError that says which forms there are.
    """
    written = text.strip()
    try:
        if ago := _AGO.fullmatch(written):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise ConfigurationError(
            f"--at {text!r} is not a time: write 2026-11-21, 2026-11-21 10:00, 2026-11-21T10:00:00+02:00,"
            " or how long ago: -30s, -10m, -2h, -7d"
        ) from wrong


def shown(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
