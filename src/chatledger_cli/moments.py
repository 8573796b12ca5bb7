"""Moments as people write them: `2026-11-21 10:00`, `2026-11-21T10:00:00+02:00`, `-10m`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

from chatledger.errors import ConfigurationError

AT = typer.Option(
    "--at",
    help="As it was known at this recorded time: 2026-11-21, '2026-11-21 10:00' (local time), with an offset, or -10m.",
)
POSITION = typer.Option("--position", min=0, help="As it was known at this position of the ledger.")

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
            f"{text!r} is not a time: write 2026-11-21, 2026-11-21 10:00, 2026-11-21T10:00:00+02:00,"
            " or how long ago: -30s, -10m, -2h, -7d"
        ) from wrong


def shown(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def moment_of(at: str | None, position: int | None) -> datetime | None:
    """Read --at, and say how it was understood. Raises ConfigurationError."""
    if at is None:
        return None
    if position is not None:
        raise ConfigurationError("--at and a position are two ways to say one thing: give one of them")
    moment = read_moment(at, datetime.now(UTC))
    typer.echo(f"as known at {shown(moment)}", err=True)
    return moment
