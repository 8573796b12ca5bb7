"""The jobs of campaigns: one starts a scheduled campaign, one releases a batch and asks for the next.

A batch is released whole in one transaction: a notice to each conversation, `campaign.batch_released`, the state of its
clients, and the next job. So whatever dies when, each client is told at most once and nobody is left out. The next
batch is due as long after this one's release as the rate gives its clients: a batch that is late is not caught up with.

A promotion waits for the end of a client's quiet hours. Places follow time zones, and a batch is of one zone: the first
in which there is somebody to tell and it is not quiet. Where it is quiet in all, the campaign waits for the first end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from chatledger.adapters.postgres import Connection
from chatledger.events.envelope import Envelope, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import NoticeDue
from chatledger.projects import Outreach as Terms
from chatledger.topics import INBOUND
from chatledger_outreach import campaign_store as store
from chatledger_outreach import campaigns
from chatledger_outreach.campaign_commands import BATCH_TASK, EARLY, START_TASK, Campaigns
from chatledger_outreach.campaign_store import Part, StoredCampaign, Target
from chatledger_outreach.campaigns import Campaign, CampaignStatus, campaign_stream
from chatledger_outreach.message_text import Message
from chatledger_outreach.parts import Outreach
from chatledger_outreach.quiet import allowed_at
from chatledger_outreach.sql import query
from chatledger_outreach.sweep import Overdue, Source

PURPOSE = "campaign"
NOTHING = "-"
"""Stands for an empty variable of a provider's template, which no provider takes."""

Sleep = Callable[[float], Awaitable[None]]
_log = structlog.get_logger()


def register(outreach: Outreach, *, sleep: Sleep = asyncio.sleep) -> Source:
    """Make the tasks known to `outreach.jobs`; return what tells which of them are overdue."""
    releases = Releases(outreach, sleep=sleep)
    outreach.jobs.add(START_TASK, releases.start)
    outreach.jobs.add(BATCH_TASK, releases.release)
    return overdue


async def overdue(connection: Connection, due_at: datetime) -> Sequence[Overdue]:
    """Return the campaigns that should have started, or released their next batch, by then."""
    rows = await connection.execute(query("campaign_overdue"), (due_at,))
    return [_overdue(*row) for row in await rows.fetchall()]


def _overdue(campaign_id: str, status: str, batches: int) -> Overdue:
    lock = f"{campaign_stream(campaign_id)} {batches}"
    if status == CampaignStatus.SCHEDULED:
        return Overdue(task=START_TASK, lock=lock, arguments={"campaign_id": campaign_id})
    return Overdue(task=BATCH_TASK, lock=lock, arguments={"campaign_id": campaign_id, "batch": batches})


class Releases:
    """What the two jobs do."""

    def __init__(self, outreach: Outreach, *, sleep: Sleep) -> None:
        self._outreach, self._sleep = outreach, sleep
        self._campaigns = Campaigns(outreach)

    async def start(self, *, campaign_id: str) -> None:
        """Start a scheduled campaign, at its time."""
        if await self._in_time(campaign_id) and await self._campaigns.start_scheduled(campaign_id):
            _log.info("campaign.started", campaign=campaign_id)

    async def release(self, *, campaign_id: str, batch: int) -> None:
        """Release a batch, at its time; do nothing where it was released, or the campaign does not run."""
        if not await self._in_time(campaign_id):
            return
        async with self._campaigns.transaction() as connection:
            stored = await store.lock(connection, campaign_id)
            if stored is None or stored.campaign.status is not CampaignStatus.RUNNING:
                return
            if stored.campaign.batches != batch:
                return
            terms = self._outreach.terms(stored.campaign.project)
            if terms is None:
                _log.warning("campaign.project_is_gone", campaign=campaign_id, project=stored.campaign.project)
                return
            await self._release(connection, stored, terms)

    async def _in_time(self, campaign_id: str) -> bool:
        """Wait for what is due soon; False where it is due later: then another job was deferred for that."""
        async with self._outreach.pool.connection() as connection:
            stored = await store.find(connection, campaign_id, None)
        if stored is None or stored.due_at is None:
            return False
        early = stored.due_at - self._outreach.clock.now()
        if early > EARLY:
            return False
        if early.total_seconds() > 0:
            await self._sleep(early.total_seconds())
        return True

    async def _release(self, connection: Connection, stored: StoredCampaign, terms: Terms) -> None:
        campaign, now = stored.campaign, self._outreach.clock.now()
        if stored.due_at is not None and stored.due_at > now:
            await self._campaigns.await_batch(connection, campaign, stored.due_at)
            return
        part, quiet_until = _next_part(campaign, await store.parts(connection, campaign.id), terms, now)
        if part is None:
            await self._campaigns.record(connection, campaign, [], time=now, due_at=quiet_until)
            await self._campaigns.await_batch(connection, campaign, quiet_until)
            _log.info("campaign.waits_for_morning", campaign=campaign.id, until=quiet_until.isoformat())
            return
        count = min(campaign.batch_size, part.stop - part.next)
        targets = await store.batch(connection, campaign.id, first=part.next, count=count)
        due_at = now + campaign.pause_after(count)
        events = campaigns.release(campaign, first=part.next, count=count)
        [batch_released, *_] = campaigns.wrap(campaign, events, now)
        after = await self._campaigns.record(connection, campaign, events, time=now, due_at=due_at)
        notices = _notices(campaign, targets, batch_released)
        await self._outreach.journal.append(connection, notices, topic=INBOUND)
        said = {each.conversation for each in notices}
        empty = [each.conversation for each in targets if each.conversation not in said]
        await store.told(connection, campaign.id, part, count, empty=empty)
        if after.status is CampaignStatus.RUNNING:
            await self._campaigns.await_batch(connection, after, due_at)
        _log.info("campaign.batch_released", campaign=campaign.id, batch=campaign.batches, clients=count)


def _next_part(campaign: Campaign, parts: Sequence[Part], terms: Terms, now: datetime) -> tuple[Part | None, datetime]:
    """Return the first part in which something may be said now; without any, when that is so for the first."""
    if not store.has_quiet_hours(campaign, terms):
        return parts[0], now
    ends = []
    for part in parts:
        allowed = allowed_at(now, ZoneInfo(part.time_zone), terms.quiet_from, terms.quiet_until)
        if allowed <= now:
            return part, now
        ends.append(allowed)
    return None, min(ends)


def _notices(campaign: Campaign, targets: Sequence[Target], cause: Envelope) -> list[Envelope]:
    """Write to each client; where the message has no text for one, there is no notice."""
    message = Message(campaign.message)
    templates = {name: Message(template) for name, template in campaign.content_variables.items()}
    written = ((target, message.text(target.addressee)) for target in targets)
    return [
        from_outside(
            NoticeDue(
                regarding=campaign_stream(campaign.id),
                purpose=PURPOSE,
                promotional=campaign.promotional,
                text=text,
                content_sid=campaign.content_sid,
                variables=_variables(templates or {"1": Message("{{ name }}")}, target),
            ),
            id=derive_id(campaign.id, target.conversation),
            source=campaigns.SOURCE,
            conversation=target.conversation,
            time=cause.time,
            cause=cause,
        )
        for target, text in written
        if text
    ]


def _variables(templates: dict[str, Message], target: Target) -> dict[str, str]:
    return {name: " ".join(each.text(target.addressee).split()) or NOTHING for name, each in templates.items()}
