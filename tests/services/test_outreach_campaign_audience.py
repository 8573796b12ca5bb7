"""Whom a campaign is for when it starts, out of the clients that there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.campaigns import Bench, campaigning, conversation, phone
from tests.support.outreach import NOW, with_terms

pytestmark = pytest.mark.postgres

CLIENTS = (
    {"number": 1, "name": "Asha", "language": "hi", "tags": ["builder", "vip"]},
    {"number": 2, "orders": 1, "spend_minor": 5_000, "last_order_at": NOW - timedelta(days=3), "language": "en"},
    {"number": 3, "orders": 5, "spend_minor": 900_000, "last_order_at": NOW - timedelta(days=90), "tags": ["vip"]},
    {"number": 4, "orders": 9, "spend_minor": 900_001, "last_order_at": NOW - timedelta(days=30), "opted_out": True},
)


async def audience(bench: Bench, asked: dict[str, Any], **changes: Any) -> list[int]:
    """The numbers of the clients whom a campaign targets."""
    campaign = await bench.start(audience=asked, **changes)
    statement = "SELECT conversation FROM outreach.campaign_targets WHERE campaign_id = %s ORDER BY place"
    found = [row[0] for row in await bench.rows(statement, campaign)]
    assert (await bench.read(campaign)).campaign.targeted == len(found)
    return [int(each[-2:]) for each in found]


@pytest.mark.parametrize(
    ("asked", "promotional", "transactional"),
    [
        ({"type": "all"}, [1, 2, 3], [1, 2, 3, 4]),
        ({"type": "segment", "orders": {"min": 1}}, [2, 3], [2, 3, 4]),
        ({"type": "segment", "orders": {"max": 0}}, [1], [1]),
        ({"type": "segment", "orders": {"min": 2, "max": 5}}, [3], [3]),
        ({"type": "segment", "spend": {"min": "50.00", "max": 900_000}}, [2, 3], [2, 3]),
        ({"type": "segment", "spend": {"min": 900_001}}, [], [4]),
        ({"type": "segment", "lastOrder": {"withinDays": 30}}, [2], [2]),
        ({"type": "segment", "lastOrder": {"withinDays": 31}}, [2], [2, 4]),
        ({"type": "segment", "lastOrder": {"before": "2026-11-01"}}, [3], [3, 4]),
        ({"type": "segment", "lastOrder": {"after": "2026-08-01", "before": "2026-09-01"}}, [3], [3]),
        ({"type": "segment", "lastOrder": {"after": "2026-11-01", "withinDays": 60}}, [2], [2]),
        ({"type": "segment", "tags": {"any": ["builder", "painter"]}}, [1], [1]),
        ({"type": "segment", "tags": {"all": ["vip"]}}, [1, 3], [1, 3]),
        ({"type": "segment", "tags": {"all": ["vip", "builder"]}}, [1], [1]),
        ({"type": "segment", "tags": {"any": ["painter"]}}, [], []),
        ({"type": "segment", "language": ["hi", "en"]}, [1, 2], [1, 2]),
        ({"type": "segment", "orders": {"min": 1}, "tags": {"any": ["vip"]}}, [3], [3]),
        ({"type": "list", "clients": [phone(4), phone(2), phone(9)]}, [2, 9], [2, 4, 9]),
    ],
)
async def test_who_belongs_to_an_audience(postgres_url, asked, promotional, transactional):
    async with campaigning(postgres_url) as bench:
        await bench.add(*CLIENTS, {"number": 5, "project": "another", "conversation": "another/twilio/+919900000005"})
        assert sorted(await audience(bench, asked)) == promotional
        assert sorted(await audience(bench, asked, kind="TRANSACTIONAL")) == transactional


async def test_a_hostile_value_is_only_ever_a_value(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add(*CLIENTS)
        hostile = "vip'); DELETE FROM outreach.clients; --"
        assert await audience(bench, {"type": "segment", "tags": {"any": [hostile, "%s", "{vip}"]}}) == []
        assert await audience(bench, {"type": "segment", "language": ["en' OR '1'='1"]}) == []
        assert len(await audience(bench, {"type": "all"})) == 3


async def test_a_settled_audience_stays_as_it_was(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(3)
        campaign = await bench.start(batch_size=2)
        await bench.add({"number": 8})
        await bench.run()
        assert sorted(await bench.told(campaign)) == [conversation(number) for number in (1, 2, 3)]


async def test_places_follow_time_zones_only_where_there_are_quiet_hours(postgres_url):
    zones = ("Europe/London", "Asia/Kolkata", "Europe/London", "Asia/Kolkata")
    clients = [{"number": number, "time_zone": zone} for number, zone in enumerate(zones, start=1)]
    parts = "SELECT time_zone, next, stop FROM outreach.campaign_parts WHERE campaign_id = %s ORDER BY next"
    async with campaigning(postgres_url) as bench:
        await bench.add(*clients)
        promotion = await bench.start()
        notice = await bench.start(kind="TRANSACTIONAL")
        assert await bench.rows(parts, promotion) == [("Asia/Kolkata", 0, 2), ("Europe/London", 2, 4)]
        assert await bench.rows(parts, notice) == [("", 0, 4)]
    async with campaigning(postgres_url, projects=with_terms(quiet_from=0, quiet_until=0)) as bench:
        assert await bench.rows(parts, await bench.start()) == [("", 0, 4)]


async def test_of_a_client_who_never_wrote_the_number_tells_the_time_zone(postgres_url):
    async with campaigning(postgres_url) as bench:
        asked = {"type": "list", "clients": [phone(1), "+442079460018"]}
        campaign = await bench.start(audience=asked)
        zones = "SELECT time_zone FROM outreach.campaign_parts WHERE campaign_id = %s ORDER BY next"
        assert await bench.rows(zones, campaign) == [("Asia/Calcutta",), ("Europe/London",)]
