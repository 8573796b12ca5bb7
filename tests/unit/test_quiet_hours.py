"""When a client may be written to unasked: never in the quiet hours, wherever the clocks are put to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatledger_outreach.quiet import allowed_at, is_quiet, local_hour, zone_name, zone_of

ZONES = (
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Antarctica/Troll",
)
"""Clocks that never change, that change at midnight, by half an hour, by two hours, and, in Apia in 2011, by a day."""
NEW_YORK = ZoneInfo("America/New_York")
FIRST, DAYS = datetime(2010, 1, 1, tzinfo=UTC), 20 * 365


@st.composite
def moments(draw):
    """A zone, and a moment of twenty years: any, or one around a change of that zone's clocks."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    changes = _changes(zone)
    days = st.sampled_from(changes) if changes and draw(st.booleans()) else st.integers(0, DAYS)
    return zone, FIRST + timedelta(days=draw(days), seconds=draw(st.integers(-36 * 3600, 36 * 3600)))


@cache
def _changes(zone):
    """The days on which the clocks of a zone change."""
    offsets = [(FIRST + timedelta(days=day)).astimezone(zone).utcoffset() for day in range(DAYS)]
    return [day for day in range(1, DAYS) if offsets[day] != offsets[day - 1]]


@settings(deadline=None, max_examples=500)
@given(at=moments(), quiet_from=st.integers(0, 23), quiet_until=st.integers(0, 23))
@example(at=(ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 9, tzinfo=UTC)), quiet_from=21, quiet_until=8)
@example(at=(ZoneInfo("Europe/London"), datetime(2026, 3, 29, 0, 30, tzinfo=UTC)), quiet_from=2, quiet_until=1)
@example(at=(ZoneInfo("America/Havana"), datetime(2026, 11, 1, 4, 30, tzinfo=UTC)), quiet_from=23, quiet_until=1)
def test_what_is_allowed_is_never_in_the_quiet_hours_and_never_later_than_they_last(at, quiet_from, quiet_until):
    zone, moment = at
    allowed = allowed_at(moment, zone, quiet_from, quiet_until)
    assert not is_quiet(allowed, zone, quiet_from, quiet_until)
    assert allowed.utcoffset() == timedelta(0)
    if is_quiet(moment, zone, quiet_from, quiet_until):
        assert allowed > moment
        assert is_quiet(allowed - timedelta(seconds=1), zone, quiet_from, quiet_until)
        assert allowed - moment <= timedelta(hours=72)
    else:
        assert allowed == moment


@given(at=moments(), hour=st.integers(0, 23))
def test_equal_hours_are_never_quiet(at, hour):
    zone, moment = at
    assert allowed_at(moment, zone, hour, hour) == moment


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2026-03-08T06:30:00+00:00", "2026-03-08T12:00:00+00:00"),  # the night that loses an hour
        ("2026-11-01T04:30:00+00:00", "2026-11-01T13:00:00+00:00"),  # the night that has one more
        ("2026-07-01T01:00:00+00:00", "2026-07-01T12:00:00+00:00"),  # nine in the evening
        ("2026-07-01T00:59:59+00:00", "2026-07-01T00:59:59+00:00"),
        ("2026-07-01T12:00:00+00:00", "2026-07-01T12:00:00+00:00"),  # eight in the morning
    ],
)
def test_the_night_ends_at_eight_by_the_clients_clock(moment, allowed):
    assert allowed_at(datetime.fromisoformat(moment), NEW_YORK, 21, 8) == datetime.fromisoformat(allowed)


def test_an_hour_that_the_clocks_skip_is_the_one_after():
    assert local_hour(date(2026, 3, 8), 2, NEW_YORK) == datetime(2026, 3, 8, 7, tzinfo=UTC)
    assert local_hour(date(2026, 3, 8), 10, NEW_YORK) == datetime(2026, 3, 8, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("client", "zone"),
    [
        ("+919900000001", "Asia/Calcutta"),
        ("919900000001", "Asia/Calcutta"),  # as Meta writes it
        ("+447911123456", "Europe/Guernsey"),  # one of several, whose clocks are London's
        ("+12125550100", "America/New_York"),
        ("+79161234567", "Europe/Paris"),  # from anywhere in Russia: the project's
        ("+8000000000", "Europe/Paris"),
        ("77", "Europe/Paris"),
        ("abc", "Europe/Paris"),
        ("", "Europe/Paris"),
    ],
)
def test_the_phone_number_tells_the_time_zone_where_it_tells_only_one(client, zone):
    assert zone_name(client, "Europe/Paris", 2026) == zone
    assert zone_of(client, "Europe/Paris", datetime(2026, 1, 1, tzinfo=UTC)) == ZoneInfo(zone)
