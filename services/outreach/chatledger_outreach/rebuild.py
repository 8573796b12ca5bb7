"""Which tables of outreach can be made anew from the ledger, and how reminders and campaigns are.

Left out is what is no read model. `campaign_targets` and `campaign_parts` are whom a campaign is for and who comes
next: settled from the clients as they were known at its start, which no event says name by name. What is left to do is
decided from them, so making them anew could tell a client twice. `campaign_requests` are the keys of requests; `events`
and `positions` are the service's own record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, cast

from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.beginnings import beginnings
from chatledger.adapters.rebuilding.declared import Making, Rebuildable
from chatledger.adapters.rebuilding.live_standing import JournalStanding
from chatledger.adapters.rebuilding.shadow_tables import Table
from chatledger.errors import InvariantViolated
from chatledger.events import outreach
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.topics import OUTREACH
from chatledger_outreach import campaign_store, campaigns, rebuild_clients, reminders, reminding
from chatledger_outreach.assembly import SCHEMA
from chatledger_outreach.campaigns import Campaign
from chatledger_outreach.settings import SERVICE
from chatledger_outreach.sql import query

REMINDER_EVENTS: tuple[type[Event], ...] = (
    outreach.ReminderScheduled,
    outreach.ReminderPostponed,
    outreach.ReminderDue,
    outreach.ReminderSent,
    outreach.ReminderCancelled,
    outreach.ReminderFailed,
)
CAMPAIGN_EVENTS: tuple[type[Event], ...] = (
    outreach.CampaignCreated,
    outreach.CampaignStarted,
    outreach.CampaignBatchReleased,
    outreach.CampaignPaused,
    outreach.CampaignResumed,
    outreach.CampaignCompleted,
    outreach.CampaignCancelled,
)

RowOf = Callable[[list[Envelope]], Mapping[str, Any]]


class Listing:
    """Rows that are numbered in the order in which they were made, each folded from a stream of its own."""

    def __init__(self, row_of: RowOf, *, statement: str, last: str) -> None:
        """`statement` writes a row, `last` reads the last number that was given."""
        self._row_of, self._statement, self._last_query = row_of, statement, last
        self._last = self._after = 0

    async def begun(self, connection: Connection) -> None:
        """Note which numbers are given by now: those beyond may come into use while this goes on."""
        row = await (await connection.execute(query(self._last_query))).fetchone()
        self._last = row[0] if row else 0

    async def apply(self, connection: Connection, events: Sequence[LedgerEvent]) -> None:
        """Write the rows of the streams that events are in."""
        envelopes = [event.envelope for event in events]
        streams = await beginnings(connection, envelopes)
        for envelope in envelopes:
            streams[envelope.stream].append(envelope)
        begun_here = {each.stream for each in envelopes if each.stream_version == 1}
        for stream, history in streams.items():
            numbers = {"after": self._after, "last": self._last}
            rows = await connection.execute(query(self._statement), {**self._row_of(history), **numbers})
            if stream in begun_here:
                self._after = cast("tuple[int]", await rows.fetchone())[0]


def _reminder_row(history: list[Envelope]) -> Mapping[str, Any]:
    reminder = reminders.fold(history)
    if reminder is None:
        raise InvariantViolated(f"{history[0].stream} does not begin with reminder.scheduled")
    return reminding.row_of(reminder)


def _campaign_row(history: list[Envelope]) -> Mapping[str, Any]:
    first, *later = history
    campaign: Campaign = reduce(campaigns.evolve, later, campaigns.evolve(None, first))
    # Where the live row tells no better time: at once, and whoever looks then waits if it is too early.
    waits = campaign.status in campaigns.NOT_STARTED
    due_at = campaign.scheduled_for if waits else None if campaign.status in campaigns.ENDED else history[-1].time
    return campaign_store.row_of(campaign, due_at)


def _begin_reminders(projects: Mapping[str, Project]) -> Making:
    listing = Listing(_reminder_row, statement="rebuild_reminder", last="rebuild_last_reminder")
    return _own(listing, REMINDER_EVENTS)


def _begin_campaigns(projects: Mapping[str, Project]) -> Making:
    listing = Listing(_campaign_row, statement="rebuild_campaign", last="rebuild_last_campaign")
    return _own(listing, CAMPAIGN_EVENTS)


def _own(listing: Listing, kinds: Sequence[type[Event]]) -> Making:
    standing = JournalStanding(SCHEMA, OUTREACH, [each.type for each in kinds])
    return Making(standings=(standing,), apply=listing.apply, begun=listing.begun)


REBUILDABLES = (
    Rebuildable(
        name="outreach.clients",
        sentence="What is known of clients, their orders and invoices, what they wished for, and the stock.",
        service=SERVICE,
        schema=SCHEMA,
        tables=tuple(Table(name=name) for name in ("clients", "orders", "invoices", "wishes", "stock")),
        types=rebuild_clients.TYPES,
        begin=rebuild_clients.begin,
        locked_first=(f"{SCHEMA}.positions",),
    ),
    Rebuildable(
        name="outreach.reminders",
        sentence="Reminders as they stand, each folded from its stream.",
        service=SERVICE,
        schema=SCHEMA,
        tables=(Table(name="reminders"),),
        types=tuple(each.type for each in REMINDER_EVENTS),
        begin=_begin_reminders,
    ),
    Rebuildable(
        name="outreach.campaigns",
        sentence="Campaigns as they stand, each folded from its stream; not whom they are for, nor when they go on.",
        service=SERVICE,
        schema=SCHEMA,
        tables=(Table(name="campaigns", kept=("due_at",)),),
        types=tuple(each.type for each in CAMPAIGN_EVENTS),
        begin=_begin_campaigns,
    ),
)
