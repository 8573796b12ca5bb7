"""The aggregate Campaign: what may happen to a campaign, decided from its state. Pure.

    (nothing) --create--> draft | scheduled --start--> running --release--> ... --release--> completed
                              running <--pause, resume--> paused
                draft, scheduled, running, paused --cancel--> cancelled

Its audience is settled when it starts: from then on each client has a place in it, from 0. A batch is a run of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chatledger.errors import ChatledgerError, InvariantViolated
from chatledger.events import outreach
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.outreach import CampaignKind

SOURCE = "/chatledger/outreach"
STREAM_PREFIX = "campaign-"


class RuleBroken(ChatledgerError):
    """This cannot happen to a campaign as it stands."""


class CampaignStatus(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


NOT_STARTED = (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED)
ENDED = (CampaignStatus.COMPLETED, CampaignStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One campaign. `version` counts its events, from 1; `released` of the `targeted` clients in `batches`."""

    id: str
    version: int
    status: CampaignStatus
    project: str
    name: str
    kind: CampaignKind
    message: str
    audience: Mapping[str, Any]
    content_sid: str | None
    content_variables: Mapping[str, str]
    rate_per_s: int
    batch_size: int
    scheduled_for: datetime | None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    targeted: int = 0
    released: int = 0
    batches: int = 0

    @property
    def promotional(self) -> bool:
        """Whether clients can be spared it: by opting out, and in their quiet hours."""
        return self.kind == "PROMOTIONAL"

    def pause_after(self, count: int) -> timedelta:
        """How long after a batch of so many clients the next one may follow: then the rate is never exceeded."""
        return timedelta(seconds=count / self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a campaign is to be, checked by whoever took it in."""

    id: str
    project: str
    name: str
    kind: CampaignKind
    message: str
    audience: Mapping[str, Any]
    rate_per_s: int
    batch_size: int
    content_sid: str | None = None
    content_variables: Mapping[str, str] = field(default_factory=dict)
    scheduled_for: datetime | None = None


def campaign_stream(campaign_id: str) -> str:
    """Return the name of a campaign's stream, which is also what its messages are `regarding`."""
    return f"{STREAM_PREFIX}{campaign_id}"


def campaign_key(project: str, campaign_id: str) -> str:
    """Return the key of a campaign's records on their topic."""
    return f"{project}/campaigns/{campaign_id}"


def create(draft: Draft) -> list[Event]:
    """Prepare a campaign."""
    return [
        outreach.CampaignCreated(
            campaign_id=draft.id,
            project=draft.project,
            name=draft.name,
            kind=draft.kind,
            message=draft.message,
            audience=dict(draft.audience),
            content_sid=draft.content_sid,
            content_variables=dict(draft.content_variables),
            rate_per_s=draft.rate_per_s,
            batch_size=draft.batch_size,
            scheduled_for=draft.scheduled_for,
        )
    ]


def require_startable(campaign: Campaign) -> None:
    """Raise RuleBroken where the campaign has started before: its audience is settled once."""
    require(
        campaign.status in NOT_STARTED,
        f"only a draft or scheduled campaign can be started, and this one is {campaign.status}",
    )


def start(campaign: Campaign, *, targeted: int) -> list[Event]:
    """Begin, with an audience of so many; without any it is complete. Raises RuleBroken."""
    require_startable(campaign)
    started = outreach.CampaignStarted(campaign_id=campaign.id, targeted=targeted)
    return [started, *_completed_if(campaign, targeted == 0)]


def release(campaign: Campaign, *, first: int, count: int) -> list[Event]:
    """Tell the clients from place `first` on; after the last of all it is complete. Raises RuleBroken."""
    require(
        campaign.status is CampaignStatus.RUNNING,
        f"only a running campaign releases a batch, and this one is {campaign.status}",
    )
    require(0 < count <= campaign.targeted - campaign.released, "a batch has clients that were not told yet")
    released = outreach.CampaignBatchReleased(campaign_id=campaign.id, batch=campaign.batches, first=first, count=count)
    return [released, *_completed_if(campaign, campaign.released + count == campaign.targeted)]


def pause(campaign: Campaign) -> list[Event]:
    """Hold the next batch back. Raises RuleBroken."""
    require(
        campaign.status is CampaignStatus.RUNNING,
        f"only a running campaign can be paused, and this one is {campaign.status}",
    )
    return [outreach.CampaignPaused(campaign_id=campaign.id)]


def resume(campaign: Campaign) -> list[Event]:
    """Go on with the batch after the last one. Raises RuleBroken."""
    require(
        campaign.status is CampaignStatus.PAUSED,
        f"only a paused campaign can be resumed, and this one is {campaign.status}",
    )
    return [outreach.CampaignResumed(campaign_id=campaign.id)]


def cancel(campaign: Campaign) -> list[Event]:
    """Let it not go on. Raises RuleBroken."""
    require(campaign.status not in ENDED, f"this campaign has ended already: it is {campaign.status}")
    return [outreach.CampaignCancelled(campaign_id=campaign.id)]


def evolve(campaign: Campaign | None, envelope: Envelope) -> Campaign:
    """Return the campaign after an event. Raises InvariantViolated for one that cannot have happened."""
    event = envelope.data
    if campaign is None:
        if isinstance(event, outreach.CampaignCreated):
            return _created(event, envelope)
        raise InvariantViolated(f"{event.type} cannot be the first in the stream of a campaign")
    campaign = replace(campaign, version=campaign.version + 1)
    match event:
        case outreach.CampaignStarted():
            return replace(campaign, status=CampaignStatus.RUNNING, targeted=event.targeted, started_at=envelope.time)
        case outreach.CampaignBatchReleased():
            return replace(campaign, released=campaign.released + event.count, batches=campaign.batches + 1)
        case outreach.CampaignPaused():
            return replace(campaign, status=CampaignStatus.PAUSED)
        case outreach.CampaignResumed():
            return replace(campaign, status=CampaignStatus.RUNNING)
        case outreach.CampaignCompleted():
            return replace(campaign, status=CampaignStatus.COMPLETED, ended_at=envelope.time)
        case outreach.CampaignCancelled():
            return replace(campaign, status=CampaignStatus.CANCELLED, ended_at=envelope.time)
    raise InvariantViolated(f"{event.type} cannot follow in the stream of campaign {campaign.id}")


def wrap(campaign: Draft | Campaign, events: Sequence[Event], time: datetime) -> list[Envelope]:
    """Put what was decided about a campaign into envelopes, behind what happened to it so far."""
    stream = campaign_stream(campaign.id)
    version = campaign.version if isinstance(campaign, Campaign) else 0
    created = derive_id(stream, 1, outreach.CampaignCreated.type)
    return [
        Envelope(
            id=derive_id(stream, number, event.type),
            source=SOURCE,
            conversation=campaign_key(campaign.project, campaign.id),
            time=time,
            stream=stream,
            stream_version=number,
            correlation_id=created,
            causation_id=None if number == 1 else created,
            traceparent=f"00-{created.replace('-', '')}-{created.replace('-', '')[:16]}-01",
            data=event,
        )
        for number, event in enumerate(events, start=version + 1)
    ]


def require(holds: bool, rule: str) -> None:
    """Raise RuleBroken, saying `rule`, unless it holds."""
    if not holds:
        raise RuleBroken(rule)


def _created(event: outreach.CampaignCreated, envelope: Envelope) -> Campaign:
    return Campaign(
        id=event.campaign_id,
        version=1,
        status=CampaignStatus.DRAFT if event.scheduled_for is None else CampaignStatus.SCHEDULED,
        project=event.project,
        name=event.name,
        kind=event.kind,
        message=event.message,
        audience=event.audience,
        content_sid=event.content_sid,
        content_variables=event.content_variables,
        rate_per_s=event.rate_per_s,
        batch_size=event.batch_size,
        scheduled_for=event.scheduled_for,
        created_at=envelope.time,
    )


def _completed_if(campaign: Campaign, last: bool) -> list[Event]:
    return [outreach.CampaignCompleted(campaign_id=campaign.id)] if last else []
