"""The effects of reminders: what the pure decisions say goes into the journal, the table and the jobs at once.

Every function belongs to its caller's transaction. Whoever changes a reminder first locks its row, so that its stream
is folded and added to by one at a time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chatledger.adapters.postgres import Connection
from chatledger.errors import InvariantViolated
from chatledger.events import outreach
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope, from_outside, project_of
from chatledger.flows.invoice_text import format_day
from chatledger.projects import Project
from chatledger.topics import INBOUND
from chatledger_outreach import clients, reasons, reminders, restocking
from chatledger_outreach.clients import Client
from chatledger_outreach.journal import SOURCE, Cause, caused, decided
from chatledger_outreach.parts import Outreach
from chatledger_outreach.quiet import allowed_at, zone_of
from chatledger_outreach.reasons import Plan
from chatledger_outreach.reminder_texts import money_text, product_name
from chatledger_outreach.reminders import Decide, Reminder, reminder_of, reminder_stream
from chatledger_outreach.sql import query

TASK = "remind"
"""The job that looks at one reminder."""


class Reminding:
    """Makes and changes reminders."""

    def __init__(self, parts: Outreach) -> None:
        self._parts = parts

    async def schedule(self, connection: Connection, plan: Plan, cause: Cause) -> bool:
        """Schedule a reminder, with its job. Returns False where there is one with this id already."""
        scheduled = outreach.ReminderScheduled(
            reminder_id=plan.reminder_id, kind=plan.kind, about=plan.about, text=plan.text, due=plan.due
        )
        stream = reminder_stream(plan.reminder_id)
        envelopes = decided([scheduled], cause, key=plan.conversation, stream=stream, last_version=0)
        reminder = _folded(envelopes)
        rows = await connection.execute(query("add_reminder"), row_of(reminder))
        if await rows.fetchone() is None:
            return False
        await self._parts.journal.append(connection, envelopes)
        await self._defer(connection, reminder)
        return True

    async def change(
        self, connection: Connection, reminder_id: str, decide: Decide, cause: Cause | None = None
    ) -> tuple[Reminder, list[Envelope]] | None:
        """Decide about a reminder as it stands, and keep what was decided. None: there is no such reminder.

        Without a cause it is the reminder's own course, and happens now. Raises what `decide` raises.
        """
        rows = await connection.execute(query("lock_reminder"), (reminder_id,))
        if await rows.fetchone() is None:
            return None
        stream = reminder_stream(reminder_id)
        reminder = _folded(await self._parts.journal.read(connection, stream))
        events = decide(reminder)
        envelopes = decided(
            events,
            cause or self._course(reminder),
            key=reminder.conversation,
            stream=stream,
            last_version=reminder.version,
        )
        if envelopes:
            await self._parts.journal.append(connection, envelopes)
            for envelope in envelopes:
                reminder = reminders.evolve(reminder, envelope) or reminder
            await connection.execute(query("update_reminder"), row_of(reminder))
        return reminder, envelopes

    async def look(self, connection: Connection, reminder_id: str) -> None:
        """Do what is due about a reminder now: tell the conversation, or put it off until the quiet hours end."""
        now = self._parts.clock.now()
        changed = await self.change(connection, reminder_id, lambda reminder: self._due(reminder, now))
        if changed is None:
            return
        reminder, envelopes = changed
        for envelope in envelopes:
            if isinstance(envelope.data, outreach.ReminderPostponed):
                await self._defer(connection, reminder)
            elif isinstance(envelope.data, outreach.ReminderDue):
                await self._tell(connection, reminder, envelope)

    async def react(self, connection: Connection, envelope: Envelope) -> None:
        """Do what an event of another service means for reminders."""
        event, conversation = envelope.data, envelope.conversation
        project = self._parts.projects.get(project_of(conversation))
        if project is None or project.outreach is None:
            return
        await self._end(connection, envelope)
        if reasons.may_plan(event):
            client = await clients.read(connection, conversation)
            number = await _order_number(connection, getattr(event, "order_id", ""))
            plan = reasons.plan(envelope, client, project, project.outreach, order_number=number)
            if plan is not None:
                await self.schedule(connection, plan, caused(envelope))
        if project.outreach.restock:
            await self._restock(connection, envelope, project)
        await self._outcome(connection, envelope)

    async def _end(self, connection: Connection, envelope: Envelope) -> None:
        """Cancel what has lost its reason."""
        gone = reasons.ending(envelope.data)
        if gone is None:
            return
        sought = {"conversation": envelope.conversation, "kind": gone.kind, "about": gone.about}
        rows = await connection.execute(query("scheduled_reminders"), sought)
        for (reminder_id,) in await rows.fetchall():
            await self.change(
                connection, reminder_id, lambda known: reminders.reason_gone(known, gone.reason), caused(envelope)
            )

    async def _restock(self, connection: Connection, envelope: Envelope, project: Project) -> None:
        """Note what clients wanted and what there is; tell those who wanted what there is again."""
        for sku in await restocking.note(connection, envelope, project):
            for conversation in await restocking.granted(connection, project, sku):
                client = await clients.read(connection, conversation)
                await self.schedule(connection, reasons.restock(sku, client, project, envelope.time), caused(envelope))

    async def _outcome(self, connection: Connection, envelope: Envelope) -> None:
        """Note what became of a reminder that was due."""
        found = reminders.outcome(envelope.data)
        if found is None:
            return
        stream, decide = found
        reminder_id = reminder_of(stream)
        if reminder_id is not None:
            await self.change(connection, reminder_id, decide, caused(envelope))

    def _due(self, reminder: Reminder, now: datetime) -> list[Event]:
        terms = self._parts.terms(project_of(reminder.conversation))
        if terms is None:
            return []
        zone = zone_of(_client_id(reminder), terms.time_zone, now)
        return reminders.come_due(reminder, now, allowed_at(now, zone, terms.quiet_from, terms.quiet_until))

    async def _tell(self, connection: Connection, reminder: Reminder, due: Envelope) -> None:
        """Put the notice beside the fact that the reminder is due."""
        project = self._parts.projects[project_of(reminder.conversation)]
        client = await clients.read(connection, reminder.conversation)
        notice = reminders.notice_of(reminder, await _variables(connection, reminder, client, project))
        told = from_outside(
            notice,
            id=reminders.notice_id(reminder.id),
            source=SOURCE,
            conversation=reminder.conversation,
            time=due.time,
            cause=due,
        )
        await self._parts.journal.append(connection, [told], topic=INBOUND)

    async def _defer(self, connection: Connection, reminder: Reminder) -> None:
        # Whether it is due already is for this service's clock to say, not for the database's.
        at = reminder.due if reminder.due > self._parts.clock.now() else None
        await self._parts.jobs.defer(connection, TASK, at, reminder_stream(reminder.id), reminder_id=reminder.id)

    def _course(self, reminder: Reminder) -> Cause:
        return Cause(
            id=reminder.last_event_id,
            causation_id=reminder.last_event_id,
            correlation_id=reminder.correlation_id,
            traceparent=reminder.traceparent,
            time=self._parts.clock.now(),
        )


async def _variables(connection: Connection, reminder: Reminder, client: Client, project: Project) -> dict[str, str]:
    """Return what a provider's template may be filled with. Values have no line breaks: providers refuse them."""
    language = project.language(client.language)
    variables = {"name": client.name or "", "text": " ".join(reminder.text.split())}
    if reminder.kind == "PAYMENT_DUE" and reminder.about is not None:
        row = await (await connection.execute(query("read_invoice"), (reminder.about,))).fetchone()
        if row is not None:
            number, total_minor, currency, due_on = row
            total = money_text(project, language, total_minor, currency)
            variables |= {"number": number, "total": total, "due_on": format_day(due_on, language, project.region)}
    elif reminder.kind == "ORDER_FOLLOW_UP" and reminder.about is not None:
        variables["number"] = await _order_number(connection, reminder.about)
    elif reminder.kind == "RESTOCK" and reminder.about is not None:
        variables["product"] = product_name(project, reminder.about)
    return variables


async def _order_number(connection: Connection, order_id: str) -> str:
    row = await (await connection.execute(query("read_order"), (order_id,))).fetchone()
    return str(row[0]) if row else order_id


def _folded(envelopes: list[Envelope]) -> Reminder:
    reminder = reminders.fold(envelopes)
    if reminder is None:
        raise InvariantViolated("a reminder's stream does not begin with reminder.scheduled")
    return reminder


def _client_id(reminder: Reminder) -> str:
    return reminder.conversation.split("/", 2)[2]


def row_of(reminder: Reminder) -> dict[str, Any]:
    """Return the row of a reminder, without its number."""
    return {
        "id": reminder.id,
        "project": project_of(reminder.conversation),
        "conversation": reminder.conversation,
        "kind": reminder.kind,
        "about": reminder.about,
        "text": reminder.text,
        "due": reminder.due,
        "status": reminder.status.value,
        "reason": reminder.reason,
        "version": reminder.version,
        "created_at": reminder.created_at,
        "updated_at": reminder.updated_at,
    }
