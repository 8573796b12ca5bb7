"""The jobs of reminders: one that looks at a reminder when its time has come, and what tells which were forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chatledger.adapters.postgres import Connection
from chatledger_outreach.parts import Outreach
from chatledger_outreach.reminders import reminder_stream
from chatledger_outreach.reminding import TASK, Reminding
from chatledger_outreach.sql import query
from chatledger_outreach.sweep import Overdue, Source

OVERDUE_AT_ONCE = 500


def register(outreach: Outreach) -> Source:
    """Make the task known to `outreach.jobs`; return what tells which reminders are overdue."""
    reminding = Reminding(outreach)

    async def remind(reminder_id: str) -> None:
        async with outreach.transaction() as connection:
            await reminding.look(connection, reminder_id)

    async def overdue(connection: Connection, due_at: datetime) -> Sequence[Overdue]:
        sought = (due_at, list(outreach.projects), OVERDUE_AT_ONCE)
        rows = await connection.execute(query("overdue_reminders"), sought)
        return [
            Overdue(task=TASK, lock=reminder_stream(row[0]), arguments={"reminder_id": row[0]})
            for row in await rows.fetchall()
        ]

    outreach.jobs.add(TASK, remind)
    return overdue
