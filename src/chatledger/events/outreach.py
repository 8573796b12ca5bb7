"""What is said unasked: reminders and campaigns, on the topic chat.outreach.

A reminder is one client's, in the stream `reminder-<id>`. A campaign is nobody's: its stream is `campaign-<id>`, its
key `project/campaigns/<id>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import AwareDatetime

from chatledger.events.base import Event, Integer, PersonalDocument, PersonalText

ReminderKind = Literal["PAYMENT_DUE", "CART_ABANDONED", "ORDER_FOLLOW_UP", "RESTOCK", "CUSTOM"]
CampaignKind = Literal["PROMOTIONAL", "TRANSACTIONAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderScheduled(Event):
    """A client is to be reminded at `due`. `about` is the order, invoice or product that is the reason."""

    type: ClassVar[str] = "reminder.scheduled"

    reminder_id: str
    kind: ReminderKind
    about: str | None
    text: PersonalText
    due: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderPostponed(Event):
    """It was due in the client's quiet hours, and waits until they end."""

    type: ClassVar[str] = "reminder.postponed"

    reminder_id: str
    due: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderDue(Event):
    """Its time has come; the conversation was told by the event `notice_id`."""

    type: ClassVar[str] = "reminder.due"

    reminder_id: str
    notice_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderSent(Event):
    """The provider took it."""

    type: ClassVar[str] = "reminder.sent"

    reminder_id: str
    delivery_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderCancelled(Event):
    """Its reason went: paid, ordered, opted out, or somebody cancelled it."""

    type: ClassVar[str] = "reminder.cancelled"

    reminder_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderFailed(Event):
    """It could not be sent."""

    type: ClassVar[str] = "reminder.failed"

    reminder_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCreated(Event):
    """A message to many clients was prepared. `audience` is `{type: all}`, a segment or a list, as it was asked for.

    `message` is a Jinja2 template, and so is each of `content_variables`, which fill the provider's template; without
    any it is filled with the client's name. `rate_per_s` bounds how many clients are told a second, `batch_size` how
    many at once.
    """

    type: ClassVar[str] = "campaign.created"

    campaign_id: str
    project: str
    name: str
    kind: CampaignKind
    message: str
    audience: PersonalDocument
    content_sid: str | None
    content_variables: dict[str, str] = field(default_factory=dict)
    rate_per_s: Integer
    batch_size: Integer
    scheduled_for: AwareDatetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStarted(Event):
    """Its audience is settled: `targeted` clients."""

    type: ClassVar[str] = "campaign.started"

    campaign_id: str
    targeted: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignBatchReleased(Event):
    """The conversations of one batch were told. `first` and `count` are places in the settled audience, from 0."""

    type: ClassVar[str] = "campaign.batch_released"

    campaign_id: str
    batch: Integer
    first: Integer
    count: Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPaused(Event):
    """No further batch is released until it is resumed."""

    type: ClassVar[str] = "campaign.paused"

    campaign_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResumed(Event):
    """It goes on with the batch after the last released one."""

    type: ClassVar[str] = "campaign.resumed"

    campaign_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCompleted(Event):
    """The last batch was released."""

    type: ClassVar[str] = "campaign.completed"

    campaign_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCancelled(Event):
    """It will not go on."""

    type: ClassVar[str] = "campaign.cancelled"

    campaign_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTagged(Event):
    """Somebody put these tags on a client, in place of those before."""

    type: ClassVar[str] = "client.tagged"

    tags: tuple[str, ...]


EVENTS: tuple[type[Event], ...] = (
    ReminderScheduled,
    ReminderPostponed,
    ReminderDue,
    ReminderSent,
    ReminderCancelled,
    ReminderFailed,
    CampaignCreated,
    CampaignStarted,
    CampaignBatchReleased,
    CampaignPaused,
    CampaignResumed,
    CampaignCompleted,
    CampaignCancelled,
    ClientTagged,
)
