"""What the HTTP API takes and shows of campaigns: shapes, and how values become them. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

from chatledger.errors import InvalidFields
from chatledger.events.codec import YEAR_MAX, YEAR_MIN
from chatledger.events.outreach import CampaignKind
from chatledger.projects import Project
from chatledger_outreach.audience import read_audience
from chatledger_outreach.campaign_metrics import Metrics
from chatledger_outreach.campaign_store import StoredCampaign
from chatledger_outreach.campaigns import Campaign, CampaignStatus, Draft
from chatledger_outreach.message_text import MessageRefused, check_message
from chatledger_outreach.shapes import Shape

RATE_PER_S_MAX = 10_000
BATCH_SIZE_MAX = 10_000
BATCH_SECONDS = 10
"""Unless a request says so itself, no batch is larger than what the rate gives in so many seconds."""
VARIABLES_MAX = 50


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("is empty, or has a character that cannot be shown")
    return text


def _plausible(time: datetime) -> datetime:
    if not YEAR_MIN < time.year < YEAR_MAX:
        raise ValueError("is no time that can be meant")
    return time


Name = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Reference = Annotated[str, Field(pattern=r"^[\w.:-]{1,100}$")]
Count = Annotated[int, Field(ge=1, strict=True)]


class NewCampaign(Shape):
    """A campaign to prepare. `message` and `contentVariables` are Jinja2 templates.

    `targetAudience` is `{"type": "all"}`, a segment, or a list of clients. Without `startImmediately` and
    `scheduledFor` it waits for POST .../start.
    """

    name: Name
    message: str
    type: CampaignKind
    target_audience: dict[str, Any]
    start_immediately: bool = False
    scheduled_for: Annotated[AwareDatetime, AfterValidator(_plausible)] | None = None
    content_sid: Reference | None = None
    content_variables: Annotated[dict[Reference, str], Field(max_length=VARIABLES_MAX)] = Field(default_factory=dict)
    rate_per_second: Annotated[Count, Field(le=RATE_PER_S_MAX)] | None = None
    batch_size: Annotated[Count, Field(le=BATCH_SIZE_MAX)] | None = None
    project: str | None = None


class CampaignView(Shape):
    """One campaign. Of a list of clients only their number is shown."""

    id: str
    project: str
    name: str
    type: CampaignKind
    status: CampaignStatus
    message: str
    content_sid: str | None
    content_variables: dict[str, str]
    target_audience: dict[str, Any]
    rate_per_second: int
    batch_size: int
    targeted: int
    released: int
    scheduled_for: datetime | None
    next_batch_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class CampaignPage(Shape):
    """Campaigns, newest first. `next_cursor` asks for the following page; None on the last one."""

    campaigns: list[CampaignView]
    next_cursor: str | None


class MetricsView(Shape):
    """What became of a campaign's messages. Rates are shares from 0 to 1, null of nothing."""

    campaign_id: str
    status: CampaignStatus
    targeted: int
    released: int
    skipped: int
    sent: int
    delivered: int
    read: int
    failed: int
    responses: int
    rates: dict[str, float | None]


def draft_of(wanted: NewCampaign, project: Project, *, campaign_id: str, now: datetime) -> Draft:
    """Check what the shape alone does not say. Raises InvalidFields."""
    wrong = _wrong_times(wanted, now)
    templates = {"message": wanted.message}
    templates |= {f"contentVariables.{name}": text for name, text in wanted.content_variables.items()}
    for field, template in templates.items():
        try:
            check_message(template)
        except MessageRefused as refused:
            wrong[field] = str(refused)
    if wanted.content_variables and wanted.content_sid is None:
        wrong["contentVariables"] = "fill a template: name it with contentSid"
    try:
        read_audience(wanted.target_audience, project)
    except InvalidFields as refused:
        wrong |= refused.fields
    if wrong:
        raise InvalidFields(wrong)
    assert project.outreach is not None, "only projects with the section have campaigns"
    rate = wanted.rate_per_second or project.outreach.campaign_rate_per_s
    return Draft(
        id=campaign_id,
        project=project.name,
        name=wanted.name,
        kind=wanted.type,
        message=wanted.message,
        audience=wanted.target_audience,
        rate_per_s=rate,
        batch_size=wanted.batch_size or min(project.outreach.campaign_batch_size, rate * BATCH_SECONDS),
        content_sid=wanted.content_sid,
        content_variables=wanted.content_variables,
        scheduled_for=wanted.scheduled_for,
    )


def _wrong_times(wanted: NewCampaign, now: datetime) -> dict[str, str]:
    if wanted.scheduled_for is None:
        return {}
    if wanted.start_immediately:
        return {"scheduledFor": "leave it out to start immediately"}
    return {} if wanted.scheduled_for > now else {"scheduledFor": "is in the past"}


def campaign_view(stored: StoredCampaign) -> CampaignView:
    """Show a campaign."""
    campaign = stored.campaign
    waiting = campaign.status in (CampaignStatus.RUNNING, CampaignStatus.PAUSED)
    return CampaignView(
        id=campaign.id,
        project=campaign.project,
        name=campaign.name,
        type=campaign.kind,
        status=campaign.status,
        message=campaign.message,
        content_sid=campaign.content_sid,
        content_variables=dict(campaign.content_variables),
        target_audience=_shown_audience(campaign),
        rate_per_second=campaign.rate_per_s,
        batch_size=campaign.batch_size,
        targeted=campaign.targeted,
        released=campaign.released,
        scheduled_for=campaign.scheduled_for,
        next_batch_at=stored.due_at if waiting else None,
        created_at=campaign.created_at,
        started_at=campaign.started_at,
        ended_at=campaign.ended_at,
    )


def metrics_view(campaign: Campaign, metrics: Metrics) -> MetricsView:
    """Show what became of a campaign's messages."""
    return MetricsView(
        campaign_id=campaign.id,
        status=campaign.status,
        targeted=metrics.targeted,
        released=campaign.released,
        skipped=metrics.skipped,
        sent=metrics.sent,
        delivered=metrics.delivered,
        read=metrics.read,
        failed=metrics.failed,
        responses=metrics.responses,
        rates=metrics.rates(),
    )


def _shown_audience(campaign: Campaign) -> dict[str, Any]:
    audience = dict(campaign.audience)
    if "clients" in audience:
        audience["clients"] = len(audience["clients"])
    return audience
