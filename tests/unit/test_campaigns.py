"""The aggregate Campaign: what may follow what, and what of it is refused by which rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.errors import InvariantViolated
from chatledger.events import outreach
from chatledger.events.base import Event
from chatledger.events.outreach import CampaignBatchReleased, CampaignCompleted, CampaignCreated, CampaignStarted
from chatledger_outreach import campaigns
from chatledger_outreach.campaigns import Campaign, CampaignStatus, Draft, RuleBroken, evolve, wrap

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DRAFT = Draft(
    id="c-1",
    project="store",
    name="monsoon",
    kind="PROMOTIONAL",
    message="Hello {{ name }}",
    audience={"type": "all"},
    rate_per_s=50,
    batch_size=500,
)
SCHEDULED = replace(DRAFT, scheduled_for=NOON + timedelta(hours=1))
Command = Callable[[Campaign], list[Event]]
COMMANDS: dict[str, Command] = {
    "start": lambda campaign: campaigns.start(campaign, targeted=3),
    "release": lambda campaign: campaigns.release(campaign, first=campaign.released, count=2),
    "finish": lambda campaign: campaigns.release(campaign, first=campaign.released, count=3 - campaign.released),
    "pause": campaigns.pause,
    "resume": campaigns.resume,
    "cancel": campaigns.cancel,
}


def after(*names: str, draft: Draft = DRAFT) -> Campaign:
    """A campaign that went through some commands."""
    campaign = reduce(evolve, wrap(draft, campaigns.create(draft), NOON), None)
    assert campaign is not None
    for name in names:
        campaign = reduce(evolve, wrap(campaign, COMMANDS[name](campaign), NOON), campaign)
    return campaign


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        ("", "draft"),
        ("start", "running"),
        ("start release", "running"),
        ("start pause", "paused"),
        ("start pause resume", "running"),
        ("start release pause resume finish", "completed"),
        ("start finish", "completed"),
        ("cancel", "cancelled"),
        ("start cancel", "cancelled"),
        ("start pause cancel", "cancelled"),
    ],
)
def test_what_follows_what(commands: str, status: str) -> None:
    assert after(*commands.split()).status == status


def test_a_campaign_with_a_time_is_scheduled_and_may_start_before() -> None:
    assert after(draft=SCHEDULED).status is CampaignStatus.SCHEDULED
    assert after("start", draft=SCHEDULED).status is CampaignStatus.RUNNING


@pytest.mark.parametrize(
    ("commands", "refused", "rule"),
    [
        ("", "pause", "only a running campaign can be paused, and this one is draft"),
        ("", "resume", "only a paused campaign can be resumed, and this one is draft"),
        ("", "release", "only a running campaign releases a batch, and this one is draft"),
        ("start", "start", "only a draft or scheduled campaign can be started, and this one is running"),
        ("start", "resume", "only a paused campaign can be resumed, and this one is running"),
        ("start pause", "pause", "only a running campaign can be paused, and this one is paused"),
        ("start pause", "release", "only a running campaign releases a batch, and this one is paused"),
        ("start pause", "start", "only a draft or scheduled campaign can be started, and this one is paused"),
        ("start finish", "pause", "only a running campaign can be paused, and this one is completed"),
        ("start finish", "cancel", "this campaign has ended already: it is completed"),
        ("cancel", "start", "only a draft or scheduled campaign can be started, and this one is cancelled"),
        ("cancel", "cancel", "this campaign has ended already: it is cancelled"),
        ("start cancel", "release", "only a running campaign releases a batch, and this one is cancelled"),
        ("start release", "release", "a batch has clients that were not told yet"),
    ],
)
def test_what_is_refused_names_its_rule(commands: str, refused: str, rule: str) -> None:
    with pytest.raises(RuleBroken) as broken:
        COMMANDS[refused](after(*commands.split()))
    assert str(broken.value) == rule


def test_batches_count_on_and_the_last_one_completes() -> None:
    campaign = after("start")
    first = campaigns.release(campaign, first=0, count=2)
    assert first == [CampaignBatchReleased(campaign_id="c-1", batch=0, first=0, count=2)]
    last = campaigns.release(after("start", "release"), first=2, count=1)
    assert last == [
        CampaignBatchReleased(campaign_id="c-1", batch=1, first=2, count=1),
        CampaignCompleted(campaign_id="c-1"),
    ]
    done = after("start", "release", "finish")
    assert (done.targeted, done.released, done.batches, done.ended_at) == (3, 3, 2, NOON)


def test_a_campaign_for_nobody_is_complete_at_once() -> None:
    assert campaigns.start(after(), targeted=0) == [
        CampaignStarted(campaign_id="c-1", targeted=0),
        CampaignCompleted(campaign_id="c-1"),
    ]


def test_the_pause_between_batches_keeps_the_rate() -> None:
    assert after().pause_after(500) == timedelta(seconds=10)
    assert after().pause_after(5) == timedelta(seconds=0.1)


def test_envelopes_are_numbered_in_their_stream_and_have_the_campaigns_key() -> None:
    [created] = wrap(DRAFT, campaigns.create(DRAFT), NOON)
    campaign = after("start")
    paused, cancelled = wrap(campaign, [*campaigns.pause(campaign), *campaigns.cancel(campaign)], NOON)
    assert [each.stream_version for each in (created, paused, cancelled)] == [1, 3, 4]
    assert {(each.stream, each.conversation) for each in (created, paused)} == {("campaign-c-1", "store/campaigns/c-1")}
    assert {each.correlation_id for each in (created, paused)} == {created.id}
    assert (created.causation_id, paused.causation_id) == (None, created.id)
    assert len({each.id for each in (created, paused, cancelled)}) == 3


def test_two_decisions_at_once_have_one_place_but_not_one_id() -> None:
    campaign = after("start")
    [paused], [cancelled] = (
        wrap(campaign, campaigns.pause(campaign), NOON),
        wrap(campaign, campaigns.cancel(campaign), NOON),
    )
    assert paused.stream_version == cancelled.stream_version
    assert paused.id != cancelled.id


def test_a_stream_begins_with_its_creation_alone() -> None:
    campaign = after()
    [created] = wrap(DRAFT, campaigns.create(DRAFT), NOON)
    with pytest.raises(InvariantViolated):
        evolve(None, replace(created, data=outreach.CampaignPaused(campaign_id="c-1")))
    with pytest.raises(InvariantViolated):
        evolve(campaign, created)


@given(st.lists(st.sampled_from(sorted(COMMANDS)), max_size=12))
def test_whatever_is_asked_for_in_whatever_order_nobody_is_told_twice(names: list[str]) -> None:
    [envelope] = wrap(DRAFT, campaigns.create(DRAFT), NOON)
    campaign, told = evolve(None, envelope), list[int]()
    for name in names:
        try:
            events = COMMANDS[name](campaign)
        except RuleBroken:
            continue
        for each in wrap(campaign, events, NOON):
            campaign = evolve(campaign, each)
            if isinstance(each.data, CampaignBatchReleased):
                told += range(each.data.first, each.data.first + each.data.count)
    assert told == list(range(campaign.released))
    assert (campaign.status is CampaignStatus.COMPLETED) == (campaign.targeted > 0 and len(told) == campaign.targeted)
    assert isinstance(envelope.data, CampaignCreated)
