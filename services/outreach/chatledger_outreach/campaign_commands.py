"""What is decided about campaigns: each command in one transaction with its events, its row, and the job that follows.

A campaign's row is locked while something is decided about it, so that commands and batches of one campaign happen one
after the other, in whatever process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

import psycopg
from psycopg_pool import PoolTimeout

from chatledger.adapters.postgres import Connection
from chatledger.errors import ChatledgerError, OutsideUnavailable
from chatledger.events.base import Event
from chatledger_outreach import campaign_store as store
from chatledger_outreach import campaigns
from chatledger_outreach.audience import read_audience
from chatledger_outreach.campaign_store import StoredCampaign
from chatledger_outreach.campaigns import Campaign, CampaignStatus, Draft
from chatledger_outreach.parts import Outreach

START_TASK = "campaign_start"
BATCH_TASK = "campaign_batch"
EARLY = timedelta(seconds=1.5)
"""Jobs are looked for once a second: one that is begun this early waits for its time, and is not late."""

Decide = Callable[[Campaign], list[Event]]
PLAIN_COMMANDS: Mapping[str, Decide] = {
    "pause": campaigns.pause,
    "resume": campaigns.resume,
    "cancel": campaigns.cancel,
}


class NoSuchCampaign(ChatledgerError):
    """There is no such campaign in this project."""


class KeyUsedBefore(ChatledgerError):
    """This Idempotency-Key came with another request before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What a client of the API calls its request, and a digest of what is in it."""

    key: str
    digest: str


class Campaigns:
    """Decides about campaigns. Everything raises OutsideUnavailable where Postgres does not answer."""

    def __init__(self, outreach: Outreach) -> None:
        self._outreach = outreach

    async def create(self, draft: Draft, *, start: bool, request: RequestKey | None = None) -> StoredCampaign:
        """Prepare a campaign, and start it at once where that is wanted.

        A request that came before gives the campaign that it made. Raises KeyUsedBefore.
        """
        async with self.transaction() as connection:
            known = await self._request(connection, draft.project, draft.id, request)
            if known is not None:
                found = await store.find(connection, known, draft.project)
                assert found is not None, "a request is remembered with its campaign"
                return found
            envelopes = campaigns.wrap(draft, campaigns.create(draft), self._outreach.clock.now())
            await self._outreach.journal.append(connection, envelopes)
            campaign = campaigns.evolve(None, envelopes[0])
            await store.insert(connection, campaign, due_at=campaign.scheduled_for)
            if start:
                await self._start(connection, campaign)
            elif campaign.scheduled_for is not None:
                await self._outreach.jobs.defer(
                    connection,
                    START_TASK,
                    self._job_time(campaign.scheduled_for),
                    f"campaign-start-{campaign.id}",
                    campaign_id=campaign.id,
                )
            return await self._found(connection, campaign.id)

    async def earlier(self, project: str, request: RequestKey | None) -> StoredCampaign | None:
        """Return the campaign that the same request was about before, None where there was none.

        Raises KeyUsedBefore.
        """
        if request is None:
            return None
        async with self.transaction() as connection:
            known = await self._known(connection, project, request)
            return None if known is None else await store.find(connection, known, project)

    async def command(
        self, campaign_id: str, name: str, *, project: str | None = None, request: RequestKey | None = None
    ) -> StoredCampaign:
        """Do what `name` says: start, pause, resume or cancel. With `project`, to a campaign of that one alone.

        Raises NoSuchCampaign, RuleBroken, KeyUsedBefore; InvalidFields when the project has changed so that the
        audience is none any more.
        """
        async with self.transaction() as connection:
            stored = await store.lock(connection, campaign_id)
            if stored is None or project not in (None, stored.campaign.project):
                raise NoSuchCampaign(f"there is no campaign {campaign_id!r}")
            campaign = stored.campaign
            if await self._request(connection, campaign.project, campaign_id, request) is None:
                if name == "start":
                    await self._start(connection, campaign)
                else:
                    await self._decide(connection, stored, PLAIN_COMMANDS[name])
            return await self._found(connection, campaign_id)

    async def start_scheduled(self, campaign_id: str) -> bool:
        """Start a campaign whose time has come; False where it is not to be started, or not yet."""
        async with self.transaction() as connection:
            stored = await store.lock(connection, campaign_id)
            if stored is None or stored.campaign.status is not CampaignStatus.SCHEDULED:
                return False
            if stored.due_at is None or stored.due_at > self._outreach.clock.now():
                return False
            await self._start(connection, stored.campaign)
            return True

    async def record(
        self,
        connection: Connection,
        campaign: Campaign,
        events: Sequence[Event],
        *,
        time: datetime,
        due_at: datetime | None,
    ) -> Campaign:
        """Append what was decided, and write what the campaign has become by it."""
        envelopes = campaigns.wrap(campaign, events, time)
        await self._outreach.journal.append(connection, envelopes)
        campaign = reduce(campaigns.evolve, envelopes, campaign)
        ended = campaign.status in campaigns.ENDED
        await store.update(connection, campaign, due_at=None if ended else due_at)
        return campaign

    async def await_batch(self, connection: Connection, campaign: Campaign, due_at: datetime) -> None:
        """Have the next batch released at a time."""
        await self._outreach.jobs.defer(
            connection,
            BATCH_TASK,
            self._job_time(due_at),
            f"campaign-batch-{campaign.id}-{campaign.batches}",
            campaign_id=campaign.id,
            batch=campaign.batches,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction on a connection of its own; what it appended is published soon after."""
        try:
            async with self._outreach.pool.connection() as connection, connection.transaction():
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
        self._outreach.committed()

    async def _start(self, connection: Connection, campaign: Campaign) -> None:
        campaigns.require_startable(campaign)
        project = self._outreach.projects.get(campaign.project)
        if project is None or project.outreach is None:
            raise NoSuchCampaign(f"the project {campaign.project!r} has no section outreach any more")
        now = self._outreach.clock.now()
        audience = read_audience(campaign.audience, project)
        targeted = await store.settle(connection, campaign, audience, terms=project.outreach, now=now)
        events = campaigns.start(campaign, targeted=targeted)
        started = await self.record(connection, campaign, events, time=now, due_at=now)
        if started.status is CampaignStatus.RUNNING:
            await self.await_batch(connection, started, now)

    async def _decide(self, connection: Connection, stored: StoredCampaign, decide: Decide) -> None:
        campaign, now = stored.campaign, self._outreach.clock.now()
        # A pause is no way around the rate: what is left of the time after the last batch passes first.
        due_at = max(stored.due_at or now, now) if campaign.status is CampaignStatus.PAUSED else stored.due_at
        campaign = await self.record(connection, campaign, decide(campaign), time=now, due_at=due_at)
        if campaign.status is CampaignStatus.RUNNING and due_at is not None:
            await self.await_batch(connection, campaign, due_at)

    def _job_time(self, due_at: datetime) -> datetime | None:
        """When a job is to begin, so as to be in time; None: at once."""
        begins_at = due_at - EARLY
        return begins_at if begins_at > self._outreach.clock.now() else None

    async def _request(
        self, connection: Connection, project: str, campaign_id: str, request: RequestKey | None
    ) -> str | None:
        """Remember a request; return the campaign of the same one before, None where there was none."""
        if request is None:
            return None
        if await store.insert_request(connection, project, request.key, digest=request.digest, campaign_id=campaign_id):
            return None
        return await self._known(connection, project, request)

    async def _known(self, connection: Connection, project: str, request: RequestKey) -> str | None:
        before = await store.find_request(connection, project, request.key)
        if before is not None and before[1] != request.digest:
            raise KeyUsedBefore("this Idempotency-Key came with another request before: use a new one")
        return before[0] if before else None

    async def _found(self, connection: Connection, campaign_id: str) -> StoredCampaign:
        found = await store.find(connection, campaign_id, None)
        assert found is not None, "it was written or locked in this transaction"
        return found
