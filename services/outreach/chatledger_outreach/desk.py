"""What the HTTP API asks for: reminders scheduled, read and cancelled, clients tagged. Each in one transaction.

Whoever asks may be limited to one project; what belongs to another one is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from chatledger.adapters.postgres import Connection
from chatledger.errors import InvalidFields
from chatledger.events.envelope import Envelope, is_conversation
from chatledger.events.ids import derive_id
from chatledger.events.outreach import ClientTagged, ReminderKind, ReminderScheduled
from chatledger_outreach import reminders
from chatledger_outreach.journal import decided, requested
from chatledger_outreach.parts import Outreach
from chatledger_outreach.reasons import Plan
from chatledger_outreach.reminders import reminder_stream
from chatledger_outreach.reminding import Reminding
from chatledger_outreach.sql import query

Row = dict[str, Any]
CANCELLED_BY_HAND = "cancelled_by_hand"


class AnotherRequest(Exception):
    """The idempotency key came before, with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom a reminder is for: exactly one of the three is given."""

    client_id: str | None
    order_id: str | None
    invoice_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderRequest:
    """A reminder as somebody asked for it. `id` is the same when the same request comes again."""

    id: str
    kind: ReminderKind
    text: str
    due: datetime
    target: Target


class Desk:
    """Serves the HTTP API. A `project` of None stands for every project."""

    def __init__(self, outreach: Outreach) -> None:
        self._outreach = outreach
        self._reminding = Reminding(outreach)

    async def schedule(self, request: ReminderRequest, project: str | None) -> Row:
        """Schedule a reminder, once however often it is asked for.

        Raises InvalidFields where the target is not known, AnotherRequest, OutsideUnavailable.
        """
        async with self._outreach.transaction() as connection:
            conversation, about = await self._resolve(connection, request.target, project)
            plan = Plan(
                reminder_id=request.id,
                conversation=conversation,
                kind=request.kind,
                about=about,
                text=request.text,
                due=request.due,
            )
            cause = requested(derive_id("request", request.id), self._outreach.clock.now())
            if not await self._reminding.schedule(connection, plan, cause):
                await self._require_same(connection, plan)
            row = await self._find(connection, request.id, project)
            if row is None:
                raise AnotherRequest
            return row

    async def find(self, reminder_id: str, project: str | None) -> tuple[Row, list[Envelope]] | None:
        """Return a reminder and its events, None where there is none. Raises OutsideUnavailable."""
        async with self._outreach.transaction() as connection:
            row = await self._find(connection, reminder_id, project)
            if row is None:
                return None
            return row, await self._outreach.journal.read(connection, reminder_stream(reminder_id))

    async def list_reminders(
        self, *, project: str | None, status: str | None, kind: str | None, before: int | None, limit: int
    ) -> list[Row]:
        """Return reminders, newest first, from before the number `before`. Raises OutsideUnavailable."""
        arguments = {"project": project, "status": status, "kind": kind, "before": before, "limit": limit}
        async with self._outreach.transaction() as connection:
            return await _rows(connection, "list_reminders", arguments)

    async def cancel(self, reminder_id: str, project: str | None) -> tuple[Row, list[Envelope]] | None:
        """Cancel a reminder; None where there is none. Raises TooLate, OutsideUnavailable."""
        async with self._outreach.transaction() as connection:
            if await self._find(connection, reminder_id, project) is None:
                return None
            await self._reminding.change(
                connection, reminder_id, lambda known: reminders.cancel(known, CANCELLED_BY_HAND)
            )
        return await self.find(reminder_id, project)

    async def tag(self, client: str, tags: Sequence[str], project: str | None) -> str | None:
        """Put tags on a client in place of those before; return the conversation, None where nobody is known so.

        Raises InvalidFields where several are, OutsideUnavailable.
        """
        async with self._outreach.transaction() as connection:
            conversation = _only("client", client, await _rows(connection, "find_clients", _sought(client, project)))
            if conversation is None:
                return None
            rows = await connection.execute(query("lock_tags"), (conversation["conversation"],))
            row = await rows.fetchone()
            if row is not None and list(row[0]) != list(tags):
                await self._tag(connection, str(conversation["conversation"]), tags, int(row[1]))
            return str(conversation["conversation"])

    async def _tag(self, connection: Connection, conversation: str, tags: Sequence[str], last_version: int) -> None:
        stream = f"client-{conversation}"
        cause = requested(derive_id("request", stream, last_version), self._outreach.clock.now())
        envelopes = decided(
            [ClientTagged(tags=tuple(tags))], cause, key=conversation, stream=stream, last_version=last_version
        )
        await self._outreach.journal.append(connection, envelopes)
        await connection.execute(query("save_tags"), (list(tags), last_version + 1, conversation))

    async def _require_same(self, connection: Connection, plan: Plan) -> None:
        """Raise AnotherRequest where the reminder with this id is not the one that is asked for."""
        [first, *_] = await self._outreach.journal.read(connection, reminder_stream(plan.reminder_id))
        asked = ReminderScheduled(
            reminder_id=plan.reminder_id, kind=plan.kind, about=plan.about, text=plan.text, due=plan.due
        )
        if first.data != asked or first.conversation != plan.conversation:
            raise AnotherRequest

    async def _resolve(self, connection: Connection, target: Target, project: str | None) -> tuple[str, str | None]:
        """Return the conversation, and what the reminder is about."""
        for name, wanted, statement in (
            ("orderId", target.order_id, "find_orders"),
            ("invoiceId", target.invoice_id, "find_invoices"),
        ):
            if wanted is not None:
                row = _only(name, wanted, await _rows(connection, statement, _sought(wanted, project)))
                if row is None:
                    raise InvalidFields({name: "nothing with this id or number is known"})
                return str(row["conversation"]), str(row["id"])
        client = target.client_id or ""
        row = _only("clientId", client, await _rows(connection, "find_clients", _sought(client, project)))
        if row is not None:
            return str(row["conversation"]), None
        if self._may_be_written_to(client, project):
            return client, None
        raise InvalidFields({"clientId": "no client with this id is known; a new one needs project/channel/client"})

    def _may_be_written_to(self, conversation: str, project: str | None) -> bool:
        """Whether it names a client who has not written yet, of a project that has an outreach section."""
        if not is_conversation(conversation):
            return False
        name, channel, _ = conversation.split("/", 2)
        known = self._outreach.projects.get(name)
        return known is not None and channel in known.channels and project in (None, name)

    async def _find(self, connection: Connection, reminder_id: str, project: str | None) -> Row | None:
        rows = await _rows(connection, "find_reminder", _sought(reminder_id, project))
        return rows[0] if rows else None


def _sought(id: str, project: str | None) -> Row:
    return {"id": id, "project": project}


def _only(field: str, id: str, rows: Sequence[Row]) -> Row | None:
    """Return the first row, None of none. Raises InvalidFields where it is not the only one and not meant by its id."""
    if not rows:
        return None
    if len(rows) > 1 and id not in (rows[0].get("id"), rows[0]["conversation"]):
        raise InvalidFields({field: "several have this id or number; write the whole id, or use a project's own key"})
    return rows[0]


async def _rows(connection: Connection, statement: str, arguments: Row) -> list[Row]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query(statement), arguments)
        return await cursor.fetchall()
