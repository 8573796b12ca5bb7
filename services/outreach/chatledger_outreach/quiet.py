"""When a client may be written to unasked: the client's time zone, and the quiet hours in it. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

DAYS_LOOKED_AT = 4
"""Quiet hours that a change of the clocks stretches end well within."""


@lru_cache(maxsize=4096)
def zone_name(client_id: str, default: str, year: int) -> str:
    """Return the name of the time zone that a phone number tells, else `default`.

    Where a number may be in several zones, they count as one if their clocks agree all through `year`.
    """
    try:
        number = phonenumbers.parse(client_id if client_id.startswith("+") else f"+{client_id}")
    except phonenumbers.NumberParseException:
        return default
    names = [name for name in time_zones_for_number(number) if name != UNKNOWN_TIMEZONE]
    try:
        clocks = {_offsets(ZoneInfo(name), year) for name in names}
    except ZoneInfoNotFoundError:
        return default
    return min(names) if len(clocks) == 1 else default


def zone_of(client_id: str, default: str, at: datetime) -> ZoneInfo:
    """Return the zone that `zone_name` names."""
    return ZoneInfo(zone_name(client_id, default, at.year))


def is_quiet(moment: datetime, zone: ZoneInfo, quiet_from: int, quiet_until: int) -> bool:
    """Whether it is within the quiet hours there. They begin with hour `quiet_from` and end before `quiet_until`."""
    hour = moment.astimezone(zone).hour
    if quiet_from <= quiet_until:
        return quiet_from <= hour < quiet_until
    return hour >= quiet_from or hour < quiet_until


def allowed_at(moment: datetime, zone: ZoneInfo, quiet_from: int, quiet_until: int) -> datetime:
    """Return when something may be said that is due at `moment`: then, or when the quiet hours end, in UTC.

    Equal hours: never quiet.
    """
    if not is_quiet(moment, zone, quiet_from, quiet_until):
        return moment.astimezone(UTC)
    today = moment.astimezone(zone).date()
    ends = (local_hour(today + timedelta(days=days), quiet_until, zone) for days in range(DAYS_LOOKED_AT))
    # The clocks may be put forward over the end of the quiet hours, and into the next ones.
    return next(end for end in ends if end > moment and not is_quiet(end, zone, quiet_from, quiet_until))


def local_hour(day: date, hour: int, zone: ZoneInfo) -> datetime:
    """Return, in UTC, when it is `hour` o'clock there on that day; an hour that the clocks skip is the one after."""
    return datetime.combine(day, time(hour), zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def _offsets(zone: ZoneInfo, year: int) -> tuple[timedelta | None, ...]:
    """The zone's distance from UTC at noon on the first of each month."""
    return tuple(datetime(year, month, 1, 12, tzinfo=UTC).astimezone(zone).utcoffset() for month in range(1, 13))
