"""This service when its broker was replaced: orders' changes that wait for the CRM go on to lead to events."""

from __future__ import annotations

from dataclasses import dataclass

from chatledger.adapters.broker_loss import History, Mended, NeededEvent, OutboxAtLoss
from chatledger.adapters.postgres import Connection
from chatledger.topics import BILLING
from chatledger_crm.outbox import RELAY_NAME
from chatledger_crm.settings import SERVICE
from chatledger_crm.sql import query


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmAtLoss(OutboxAtLoss):
    """The outbox, and the changes that are still to be made in the CRM."""

    async def mend(self, connection: Connection, history: History) -> Mended:
        """Let the relay publish again what the ledger lacks; of waiting changes say what they came of."""
        mended = await OutboxAtLoss.mend(self, connection, history)
        rows = await (await connection.execute(query("waiting_pushes"))).fetchall()
        mended.needed += [
            NeededEvent(event_id=push, event_type=None, conversation=f"{project}/crm/{order}")
            for push, project, order in rows
        ]
        return mended


AT_LOSS = CrmAtLoss(name=SERVICE, topics=(BILLING,), lock=RELAY_NAME)
