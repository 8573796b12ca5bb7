"""How what is known of clients, their orders, invoices and wishes is made anew from the ledger.

Only the noting is done again, never what follows from it: no reminder is planned, and no job. Whether a wish was
granted is told by the reminder that granted it, so that nobody is told twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.declared import Making
from chatledger.adapters.rebuilding.live_standing import ConsumerStanding, JournalStanding
from chatledger.errors import ConfigurationError
from chatledger.events import cart, dialog, inbound, inventory, orders, outreach
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.envelope import Envelope, is_conversation, project_of
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.topics import BILLING, DIALOG, INBOUND, INVENTORY, OUTREACH
from chatledger_outreach import clients, reasons, restocking
from chatledger_outreach.assembly import SCHEMA
from chatledger_outreach.parts import with_outreach
from chatledger_outreach.reminders import reminder_stream
from chatledger_outreach.sql import query

TOPICS = (INBOUND, DIALOG, BILLING, INVENTORY)
NOTED: tuple[type[Event], ...] = (
    inbound.MessageReceived,
    dialog.ConversationStarted,
    dialog.ClientOptedOut,
    dialog.ClientOptedIn,
    dialog.OrderCancelled,
    cart.ItemsRefused,
    orders.OrderCreated,
    orders.OrderAdvanced,
    orders.InvoiceIssued,
    orders.InvoicePaid,
    orders.InvoiceVoided,
    inventory.InventoryUpdated,
)
OWN: tuple[type[Event], ...] = (outreach.ClientTagged, outreach.ReminderScheduled)
TYPES = tuple(each.type for each in (*NOTED, *OWN))


class Noting:
    """Notes what events tell, without what follows from it. `projects` are those that have an outreach section."""

    def __init__(self, projects: Mapping[str, Project]) -> None:
        self._projects = projects
        # What concerns a row that is not there yet: topics are recorded side by side.
        self._waiting: list[tuple[str, Sequence[Any]]] = []

    async def begun(self, connection: Connection) -> None:
        """Raise ConfigurationError where clients of another project are known: they would be gone afterwards."""
        rows = await connection.execute(query("rebuild_unknown_projects"), (sorted(self._projects),))
        unknown = [project for (project,) in await rows.fetchall()]
        if unknown:
            raise ConfigurationError(
                f"outreach.clients has clients of {', '.join(unknown)}, and no project file of that name has a section"
                " outreach: set CHATLEDGER_PROJECTS to the folder that the services use, or, where the project is gone"
                " for good, delete its rows first"
            )

    async def apply(self, connection: Connection, events: Sequence[LedgerEvent]) -> None:
        """Take in a batch."""
        told = [each.envelope for each in events if each.topic != OUTREACH and _is_readable(each.envelope)]
        await clients.update(connection, told, self._projects)
        await self._note_wishes(connection, told)
        for envelope in (each.envelope for each in events if each.topic == OUTREACH):
            self._note_own(envelope)
        waiting = self._waiting
        self._waiting = [each for each in waiting if not await _done(connection, *each)]

    async def _note_wishes(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        granted_at = await _granted_at(connection, envelopes)
        for envelope in envelopes:
            project = self._projects.get(project_of(envelope.conversation))
            if project is None or project.outreach is None or not project.outreach.restock:
                continue
            for wish in reasons.wishes(envelope.data):
                granted = granted_at.get(_granting_stream(envelope.conversation, wish.sku))
                if granted is not None and granted < envelope.time:
                    # It was granted before; what came of that was recorded after this.
                    await connection.execute(query("rebuild_told_wish"), (envelope.conversation, wish.sku))
            await restocking.note(connection, envelope, project)

    def _note_own(self, envelope: Envelope) -> None:
        event, conversation = envelope.data, envelope.conversation
        if project_of(conversation) not in self._projects:
            return
        if isinstance(event, outreach.ClientTagged):
            self._waiting.append(("save_tags", (list(event.tags), envelope.stream_version, conversation)))
        elif isinstance(event, outreach.ReminderScheduled) and event.about is not None:
            sku = event.about
            # Somebody may have scheduled one by hand: then no wish was granted.
            granted = envelope.stream == _granting_stream(conversation, sku)
            self._waiting += [("rebuild_told_wish", (conversation, sku))] if granted else []


def begin(projects: Mapping[str, Project]) -> Making:
    """Return what one rebuild works with."""
    noting = Noting(with_outreach(projects))
    standings = (
        ConsumerStanding(SCHEMA, TOPICS),
        JournalStanding(SCHEMA, OUTREACH, [each.type for each in OWN]),
    )
    return Making(standings=standings, apply=noting.apply, begun=noting.begun)


def _is_readable(envelope: Envelope) -> bool:
    """As the intake has it: what else there is, it has put aside."""
    return is_conversation(envelope.conversation) and not isinstance(envelope.data, UnknownEvent)


def _granting_stream(conversation: str, sku: str) -> str:
    return reminder_stream(reasons.restock_id(conversation, sku))


async def _granted_at(connection: Connection, envelopes: Sequence[Envelope]) -> dict[str, datetime]:
    """When the wishes in `envelopes` were granted that were, by the stream of the reminder that did it."""
    streams = [
        _granting_stream(envelope.conversation, wish.sku)
        for envelope in envelopes
        for wish in reasons.wishes(envelope.data)
    ]
    if not streams:
        return {}
    return dict(await (await connection.execute(query("rebuild_told"), (streams,))).fetchall())


async def _done(connection: Connection, name: str, parameters: Sequence[Any]) -> bool:
    return (await connection.execute(query(name), parameters)).rowcount > 0
