"""Campaigns from start to end: batches, their rate, pauses, quiet hours, and what is left where a step fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from chatledger.errors import InvalidFields
from chatledger.events.ids import derive_id
from chatledger.events.inbound import NoticeDue
from chatledger.events.outreach import CampaignBatchReleased, CampaignCompleted
from chatledger.topics import INBOUND, OUTREACH
from chatledger_outreach import campaign_store, campaigns
from chatledger_outreach.campaign_commands import KeyUsedBefore, NoSuchCampaign, RequestKey
from chatledger_outreach.campaigns import CampaignStatus, RuleBroken, campaign_stream
from tests.support.campaigns import Bench, campaigning, conversation, draft, phone
from tests.support.outreach import NOW, with_terms

pytestmark = pytest.mark.postgres


async def released_at(bench: Bench, campaign_id: str) -> list[tuple[datetime, int]]:
    """When each batch was released, and how many clients it had."""
    batches = [each for each in await bench.events() if each.stream == campaign_stream(campaign_id)]
    return [(each.time, each.data.count) for each in batches if isinstance(each.data, CampaignBatchReleased)]


async def test_every_client_is_told_once_in_batches_and_then_it_is_complete(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(12)
        campaign = await bench.start()
        await bench.run()
        told = await bench.told(campaign)
        assert told == [conversation(number) for number in range(1, 13)]
        stored = await bench.read(campaign)
        assert (stored.campaign.status, stored.campaign.released, stored.due_at) == ("completed", 12, None)
        stream = await bench.outreach.journal.history(campaign_stream(campaign))
        assert [each.data.type.partition(".")[2] for each in stream] == [
            *("created", "started", "batch_released", "batch_released", "batch_released", "completed")
        ]
        assert [each.stream_version for each in stream] == [1, 2, 3, 4, 5, 6]


async def test_the_row_is_what_its_events_come_to(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(7)
        campaign = await bench.start(content_sid="HX1", content_variables={"1": "{{ name }}"})
        await bench.step()
        await bench.commands.command(campaign, "pause")
        folded = None
        for envelope in await bench.outreach.journal.history(campaign_stream(campaign)):
            folded = campaigns.evolve(folded, envelope)
        assert folded == (await bench.read(campaign)).campaign


async def test_a_notice_says_what_is_to_be_said_to_this_client(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add({"number": 1, "name": " Asha\nRao "}, {"number": 2})
        variables = {"1": "{{ name|default('friend') }}", "2": "{{ orders }} orders"}
        campaign = await bench.start(content_sid="HX1", content_variables=variables)
        plain = await bench.start(kind="TRANSACTIONAL", message="Namaste")
        await bench.run()
        asha, *_ = await bench.events(NoticeDue)
        assert asha.data == NoticeDue(
            regarding=campaign_stream(campaign),
            purpose="campaign",
            promotional=True,
            text="Hello Asha Rao",
            content_sid="HX1",
            variables={"1": "Asha Rao", "2": "0 orders"},
        )
        [released, _] = await bench.events(CampaignBatchReleased)
        assert asha.id == derive_id(campaign, conversation(1))
        assert (asha.conversation, asha.stream_version, asha.causation_id) == (conversation(1), None, released.id)
        assert asha.correlation_id == released.correlation_id
        told = [notice for _, notice in await bench.notices(plain)]
        assert [(each.text, each.promotional, each.content_sid) for each in told] == [("Namaste", False, None)] * 2
        assert [each.variables for each in told] == [{"1": "Asha Rao"}, {"1": "-"}]


async def test_each_event_goes_to_its_topic(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(2)
        await bench.start()
        await bench.run()
        topics = Counter(await bench.rows("SELECT topic, type FROM outreach.events"))
        assert topics == {
            (OUTREACH, "campaign.created"): 1,
            (OUTREACH, "campaign.started"): 1,
            (OUTREACH, "campaign.batch_released"): 1,
            (INBOUND, "notice.due"): 2,
            (OUTREACH, "campaign.completed"): 1,
        }


async def test_the_rate_is_kept_and_a_late_batch_is_not_caught_up_with(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(22)
        campaign = await bench.start(rate_per_s=4, batch_size=5)
        await bench.step()
        await bench.step()
        bench.clock.advance(timedelta(seconds=60))
        await bench.run()
        batches = await released_at(bench, campaign)
        assert [count for _, count in batches] == [5, 5, 5, 5, 2]
        gaps = [(after - before).total_seconds() for (before, _), (after, _) in pairwise(batches)]
        assert gaps == [1.25, 60, 1.25, 1.25]


async def test_a_job_that_is_early_waits_and_one_that_is_much_too_early_does_nothing(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(10)
        campaign = await bench.start(rate_per_s=1)
        await bench.step()
        await bench.releases.release(campaign_id=campaign, batch=1)
        assert bench.clock.now() == NOW
        bench.clock.advance(timedelta(seconds=4))
        await bench.releases.release(campaign_id=campaign, batch=1)
        assert bench.clock.now() == NOW + timedelta(seconds=5)
        assert len(await bench.told(campaign)) == 10


async def test_a_job_that_comes_twice_releases_its_batch_once(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(10)
        campaign = await bench.start()
        for _ in range(3):
            bench.clock.advance(timedelta(minutes=1))
            await bench.releases.release(campaign_id=campaign, batch=0)
        assert len(await bench.told(campaign)) == 5


async def test_a_paused_campaign_waits_and_goes_on_after_the_last_batch(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(12)
        campaign = await bench.start()
        await bench.step()
        await bench.commands.command(campaign, "pause")
        bench.clock.advance(timedelta(hours=1))
        assert not await bench.step()
        await bench.releases.release(campaign_id=campaign, batch=1)
        assert len(await bench.told(campaign)) == 5
        await bench.commands.command(campaign, "resume")
        await bench.run()
        assert await bench.told(campaign) == [conversation(number) for number in range(1, 13)]
        assert (await bench.read(campaign)).campaign.status is CampaignStatus.COMPLETED


async def test_a_short_pause_is_no_way_around_the_rate(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(10)
        campaign = await bench.start(rate_per_s=1)
        await bench.step()
        for name in ("pause", "resume", "pause", "resume"):
            bench.clock.advance(timedelta(seconds=0.1))
            await bench.commands.command(campaign, name)
        await bench.run()
        [(first, _), (second, _)] = await released_at(bench, campaign)
        assert second - first == timedelta(seconds=5)


async def test_a_cancelled_campaign_tells_nobody_else(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(10)
        campaign = await bench.start()
        await bench.step()
        await bench.commands.command(campaign, "cancel")
        assert not await bench.step()
        await bench.releases.release(campaign_id=campaign, batch=1)
        assert len(await bench.told(campaign)) == 5
        with pytest.raises(RuleBroken, match="ended already"):
            await bench.commands.command(campaign, "cancel")


async def test_a_scheduled_campaign_starts_at_its_time_with_the_audience_of_then(postgres_url):
    at = NOW + timedelta(hours=2)
    async with campaigning(postgres_url) as bench:
        created = await bench.commands.create(draft(scheduled_for=at), start=False)
        campaign = created.campaign.id
        await bench.add_clients(3)
        await bench.releases.start(campaign_id=campaign)
        assert (await bench.read(campaign)).campaign.status is CampaignStatus.SCHEDULED
        await bench.run()
        stored = (await bench.read(campaign)).campaign
        assert (stored.status, stored.started_at, stored.targeted) == (CampaignStatus.COMPLETED, at, 3)


async def test_a_scheduled_campaign_that_was_started_or_cancelled_before_does_not_start_again(postgres_url):
    at = NOW + timedelta(hours=2)
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(7)
        early = (await bench.commands.create(draft(scheduled_for=at), start=False)).campaign.id
        gone = (await bench.commands.create(draft(scheduled_for=at), start=False)).campaign.id
        await bench.commands.command(early, "start")
        await bench.commands.command(gone, "cancel")
        bench.clock.time = at
        for campaign in (early, gone):
            await bench.releases.start(campaign_id=campaign)
        await bench.run()
        assert len(await bench.told(early)) == 7
        assert await bench.told(gone) == []


async def test_a_promotion_waits_for_the_morning_where_the_client_is(postgres_url):
    evening_in_india = datetime(2026, 11, 21, 17, tzinfo=UTC)
    async with campaigning(postgres_url, now=evening_in_india) as bench:
        await bench.add({"number": 1}, {"number": 2}, {"number": 3, "time_zone": "Europe/London"})
        promotion = await bench.start()
        await bench.step()
        assert await bench.told(promotion) == [conversation(3)]
        notice = await bench.start(kind="TRANSACTIONAL")
        await bench.run()
        eight_in_india = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
        assert await released_at(bench, promotion) == [(evening_in_india, 1), (eight_in_india, 2)]
        assert sorted(await bench.told(promotion)) == [conversation(number) for number in (1, 2, 3)]
        [(at, count)] = await released_at(bench, notice)
        assert (count, at < eight_in_india) == (3, True)


async def test_a_client_to_whom_there_is_nothing_to_say_is_skipped(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add({"number": 1, "orders": 3}, {"number": 2})
        campaign = await bench.start(message="{% if orders %}Thank you{% elif name == 'x' %}{% endif %}")
        await bench.run()
        assert await bench.told(campaign) == [conversation(1)]
        states = "SELECT state, reason FROM outreach.campaign_targets ORDER BY conversation"
        assert await bench.rows(states) == [(1, None), (2, "empty")]
        assert (await bench.read(campaign)).campaign.released == 2


async def test_a_campaign_for_nobody_is_complete_at_once(postgres_url):
    async with campaigning(postgres_url) as bench:
        campaign = await bench.start()
        assert (await bench.read(campaign)).campaign.status is CampaignStatus.COMPLETED
        assert len(await bench.events(CampaignCompleted)) == 1
        assert not await bench.step()


async def test_clients_who_never_wrote_are_told_too(postgres_url):
    async with campaigning(postgres_url) as bench:
        campaign = await bench.start(audience={"type": "list", "clients": [phone(7), phone(8)]})
        await bench.run()
        assert await bench.told(campaign) == [conversation(7), conversation(8)]


class Failing(Exception):
    """What a test has a step fail with."""


@pytest.mark.parametrize("failing_at", range(5))
async def test_what_fails_within_a_batch_leaves_nothing_of_it(postgres_url, monkeypatch, failing_at):
    steps = 0

    def failing(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == failing_at + 1:
                raise Failing
            return await original(*arguments, **named)

        return step

    async with campaigning(postgres_url) as bench:
        await bench.add_clients(15)
        campaign = await bench.start()
        await bench.step()
        journal, jobs = type(bench.outreach.journal), type(bench.outreach.jobs)
        with monkeypatch.context() as patched:
            patched.setattr(journal, "append", failing(journal.append))
            patched.setattr(campaign_store, "told", failing(campaign_store.told))
            patched.setattr(jobs, "defer", failing(jobs.defer))
            raised = False
            try:
                await bench.step()
            except Failing:
                raised = True
            # Two appends, the clients' state, the next job: after the fourth step nothing is left to fail.
            assert raised == (failing_at < 4)
        assert len(await bench.told(campaign)) == (5 if raised else 10)
        await bench.run()
        assert await bench.told(campaign) == [conversation(number) for number in range(1, 16)]


async def test_a_request_that_comes_again_has_one_effect(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(3)
        request = RequestKey(key="k-1", digest="asked for")
        first = await bench.commands.create(draft(), start=True, request=request)
        again = await bench.commands.create(draft(), start=True, request=request)
        assert again.campaign.id == first.campaign.id
        with pytest.raises(KeyUsedBefore):
            await bench.commands.create(draft(), start=True, request=replace(request, digest="another thing"))
        assert len(await bench.rows("SELECT FROM outreach.campaigns")) == 1
        pausing = RequestKey(key="k-2", digest="pause")
        for _ in range(2):
            paused = await bench.commands.command(first.campaign.id, "pause", request=pausing)
            assert paused.campaign.status is CampaignStatus.PAUSED


async def test_a_campaign_of_another_project_is_none(postgres_url):
    async with campaigning(postgres_url) as bench:
        campaign = await bench.start()
        with pytest.raises(NoSuchCampaign):
            await bench.commands.command(campaign, "cancel", project="order-form")
        with pytest.raises(NoSuchCampaign):
            await bench.commands.command("nothing", "cancel")


async def test_an_audience_that_is_none_any_more_is_refused_at_the_start(postgres_url):
    asked = {"type": "list", "channel": "twilio", "clients": [phone(1)]}
    async with campaigning(postgres_url) as bench:
        created = await bench.commands.create(draft(audience=asked), start=False)
    store = with_terms()["store"]
    moved = {"store": replace(store, channels={"chat2desk": store.channels["twilio"]})}
    async with campaigning(postgres_url, projects=moved) as bench:
        with pytest.raises(InvalidFields, match=r"targetAudience\.channel"):
            await bench.commands.command(created.campaign.id, "start")
        assert (await bench.read(created.campaign.id)).campaign.status is CampaignStatus.DRAFT
