"""Campaigns on a real Postgres, without the process around them: clients, drafts, and jobs done when the test says."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chatledger.adapters.clock import ManualClock
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope, conversation_id
from chatledger.events.inbound import NoticeDue
from chatledger.projects import Project
from chatledger_outreach import campaign_store
from chatledger_outreach.assembly import opened
from chatledger_outreach.campaign_commands import BATCH_TASK, START_TASK, Campaigns
from chatledger_outreach.campaign_store import StoredCampaign
from chatledger_outreach.campaign_tasks import Releases, overdue
from chatledger_outreach.campaigns import Draft, campaign_stream
from chatledger_outreach.journal import stored_envelope
from chatledger_outreach.parts import Outreach
from tests.support.outreach import NOW, PROJECTS

HORIZON = timedelta(days=30)


def phone(number: int) -> str:
    """The phone number of the client with this number: an Indian one."""
    return f"+9199{number:08d}"


def conversation(number: int, channel: str = "twilio") -> str:
    """That client's conversation."""
    return conversation_id("store", channel, phone(number))


def draft(**changes: Any) -> Draft:
    """A campaign for everybody."""
    base = Draft(
        id=str(uuid.uuid4()),
        project="store",
        name="monsoon",
        kind="PROMOTIONAL",
        message="Hello {{ name|default('friend') }}",
        audience={"type": "all"},
        rate_per_s=10,
        batch_size=5,
    )
    return replace(base, **changes)


@dataclass(kw_only=True)
class Bench:
    """The parts, and the two jobs, done as they come due by the clock's time."""

    outreach: Outreach
    clock: ManualClock
    commands: Campaigns
    releases: Releases

    async def add_clients(self, count: int, **columns: Any) -> None:
        """Clients with the numbers from 1 on."""
        await self.add(*({"number": number, **columns} for number in range(1, count + 1)))

    async def add(self, *clients: Mapping[str, Any]) -> None:
        """Clients with these columns; what is not said is as of a client who wrote once."""
        async with self.outreach.pool.connection() as connection:
            for client in clients:
                columns = dict(client)
                number, channel = columns.pop("number"), columns.pop("channel", "twilio")
                columns = {
                    "conversation": conversation(number, channel),
                    "project": "store",
                    "channel": channel,
                    "client_id": phone(number),
                    "time_zone": "Asia/Kolkata",
                } | columns
                names = ", ".join(columns)
                holes = ", ".join(f"%({name})s" for name in columns)
                await connection.execute(f"INSERT INTO outreach.clients ({names}) VALUES ({holes})".encode(), columns)

    async def start(self, **changes: Any) -> str:
        """Create and start a campaign; its id."""
        return (await self.commands.create(draft(**changes), start=True)).campaign.id

    async def read(self, campaign_id: str) -> StoredCampaign:
        """The campaign as it stands."""
        async with self.outreach.pool.connection() as connection:
            found = await campaign_store.find(connection, campaign_id, None)
        assert found is not None
        return found

    async def step(self) -> bool:
        """Move the clock to what is due next, and do its job; False where nothing is due."""
        async with self.outreach.pool.connection() as connection:
            due = await overdue(connection, self.clock.now() + HORIZON)
            rows = await connection.execute(
                "SELECT min(due_at) FROM outreach.campaigns WHERE status IN ('scheduled', 'running')"
            )
            [earliest] = await rows.fetchone() or (None,)
        if not due:
            return False
        self.clock.time = max(self.clock.time, earliest.astimezone(self.clock.time.tzinfo))
        if due[0].task == BATCH_TASK:
            await self.releases.release(**due[0].arguments)  # type: ignore[arg-type]  # what the job was deferred with
        else:
            assert due[0].task == START_TASK
            await self.releases.start(**due[0].arguments)  # type: ignore[arg-type]  # see above
        return True

    async def run(self, *, steps_max: int = 1_000) -> None:
        """Do jobs until nothing is due."""
        for _ in range(steps_max):
            if not await self.step():
                return
        raise AssertionError("the campaign does not come to an end")

    async def events(self, event_class: type[Event] | None = None) -> list[Envelope]:
        """What is in the journal, in the order in which it is published."""
        found = [stored_envelope(row) for row in await self.rows(_EVENTS)]
        return [each for each in found if event_class is None or isinstance(each.data, event_class)]

    async def told(self, campaign_id: str) -> list[str]:
        """The conversations that a campaign told, in order, each as often as it was told."""
        return [conversation for conversation, _ in await self.notices(campaign_id)]

    async def notices(self, campaign_id: str) -> list[tuple[str, NoticeDue]]:
        """What it told them."""
        found = [(each.conversation, each.data) for each in await self.events()]
        return [
            (conversation, data)
            for conversation, data in found
            if isinstance(data, NoticeDue) and data.regarding == campaign_stream(campaign_id)
        ]

    async def rows(self, statement: str, *arguments: Any) -> Sequence[Any]:
        """The rows of a query."""
        async with self.outreach.pool.connection() as connection:
            return await (await connection.execute(statement.encode(), arguments)).fetchall()


_EVENTS = (
    "SELECT id, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent,"
    " data FROM outreach.events ORDER BY position"
)


@asynccontextmanager
async def campaigning(
    database: str, *, projects: Mapping[str, Project] = PROJECTS, now: datetime = NOW
) -> AsyncIterator[Bench]:
    """A bench over a database, whose clock stands at `now` until somebody sleeps or steps."""
    clock = ManualClock(now)

    async def sleep(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))

    async with opened(database, projects, clock=clock) as outreach:
        yield Bench(
            outreach=outreach,
            clock=clock,
            commands=Campaigns(outreach),
            releases=Releases(outreach, sleep=sleep),
        )
