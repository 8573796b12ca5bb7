"""What is known of clients, their orders and invoices: projections of what other services tell.

Events are taken as they come from several topics, in any order between them; taking one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from chatledger.adapters.postgres import Connection
from chatledger.events import dialog, inbound, orders
from chatledger.events.envelope import Envelope, project_of
from chatledger.pricing import amounts
from chatledger.projects import Project
from chatledger_outreach.quiet import zone_name
from chatledger_outreach.sql import query

CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What is known of one client."""

    conversation: str
    client_id: str
    name: str | None = None
    language: str | None = None
    time_zone: str | None = None
    """None: nothing was heard of this client yet."""


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a batch says of one client; None where it says nothing."""

    conversation: str
    project: str
    channel: str
    client_id: str
    time_zone: str
    name: str | None = None
    language: str | None = None
    opted_out: bool | None = None
    last_message_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Changes:
    """What a batch changes, as rows for the statements in sql/."""

    clients: dict[str, Heard] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    order_statuses: dict[str, str] = field(default_factory=dict)
    invoices: dict[str, dict[str, Any]] = field(default_factory=dict)
    invoice_statuses: dict[str, str] = field(default_factory=dict)
    ordering: set[str] = field(default_factory=set)
    """Conversations whose orders changed."""


def changes_of(envelopes: Iterable[Envelope], projects: Mapping[str, Project]) -> Changes:
    """Return what events change. Pure."""
    changes = Changes()
    for envelope in envelopes:
        project = projects.get(project_of(envelope.conversation))
        if project is not None:
            _note(changes, envelope, project)
    return changes


async def update(connection: Connection, envelopes: Sequence[Envelope], projects: Mapping[str, Project]) -> None:
    """Take a batch of events into the projections, within the caller's transaction."""
    changes = changes_of(envelopes, projects)
    for name, rows in (
        ("add_clients", [asdict(changes.clients[each]) for each in sorted(changes.clients)]),
        ("update_clients", [asdict(changes.clients[each]) for each in sorted(changes.clients)]),
        ("add_orders", list(changes.orders.values())),
        ("move_orders", _statuses(changes.order_statuses)),
        ("add_invoices", list(changes.invoices.values())),
        ("move_invoices", _statuses(changes.invoice_statuses)),
    ):
        if rows:
            await connection.execute(query(name), (Jsonb(rows, dumps=orjson.dumps),))
    if changes.ordering:
        await connection.execute(query("count_orders"), (sorted(changes.ordering),))


async def read(connection: Connection, conversation: str) -> Client:
    """Return what is known of a client; of one that nothing was heard of, what the conversation's id tells."""
    rows = await connection.execute(query("read_client"), (conversation,))
    row = await rows.fetchone()
    client_id = conversation.split("/", 2)[2]
    if row is None:
        return Client(conversation=conversation, client_id=client_id)
    return Client(conversation=conversation, client_id=client_id, name=row[0], language=row[1], time_zone=row[2])


def _note(changes: Changes, envelope: Envelope, project: Project) -> None:
    event, conversation = envelope.data, envelope.conversation
    if isinstance(event, inbound.MessageReceived):
        heard = _heard(changes, envelope, project)
        heard.name = event.client_name or heard.name
        heard.last_message_at = max(heard.last_message_at or envelope.time, envelope.time)
    elif isinstance(event, dialog.ConversationStarted):
        _heard(changes, envelope, project).language = event.language
    elif isinstance(event, dialog.ClientOptedOut | dialog.ClientOptedIn):
        _heard(changes, envelope, project).opted_out = isinstance(event, dialog.ClientOptedOut)
    elif isinstance(event, orders.OrderCreated):
        _heard(changes, envelope, project)
        changes.orders.setdefault(event.order_id, _order_row(event, envelope, project))
        changes.ordering.add(conversation)
    elif isinstance(event, orders.OrderAdvanced):
        changes.order_statuses[event.order_id] = event.status
    elif isinstance(event, dialog.OrderCancelled) and event.order_id is not None:
        changes.order_statuses[event.order_id] = CANCELLED
        changes.ordering.add(conversation)
    elif isinstance(event, orders.InvoiceIssued):
        changes.invoices.setdefault(event.invoice_id, _invoice_row(event, envelope, project))
    elif isinstance(event, orders.InvoicePaid):
        changes.invoice_statuses[event.invoice_id] = "paid"
    elif isinstance(event, orders.InvoiceVoided):
        changes.invoice_statuses[event.invoice_id] = "void"


def _heard(changes: Changes, envelope: Envelope, project: Project) -> Heard:
    conversation = envelope.conversation
    known = changes.clients.get(conversation)
    if known is None:
        name, channel, client_id = conversation.split("/", 2)
        default = project.outreach.time_zone if project.outreach else "UTC"
        known = changes.clients[conversation] = Heard(
            conversation=conversation,
            project=name,
            channel=channel,
            client_id=client_id,
            time_zone=zone_name(client_id, default, envelope.time.year),
        )
    return known


def _order_row(event: orders.OrderCreated, envelope: Envelope, project: Project) -> dict[str, Any]:
    total = 0
    if event.currency is not None:
        total = amounts(event.lines, event.discounts, tax_inclusive=event.tax_inclusive).total_minor
    return {
        "id": event.order_id,
        "number": event.order_number,
        "conversation": envelope.conversation,
        "project": project.name,
        "total_minor": total,
        "currency": event.currency,
        "created_at": envelope.time,
    }


def _invoice_row(event: orders.InvoiceIssued, envelope: Envelope, project: Project) -> dict[str, Any]:
    return {
        "id": event.invoice_id,
        "number": event.number,
        "order_id": event.order_id,
        "conversation": envelope.conversation,
        "project": project.name,
        "total_minor": event.total_minor,
        "currency": event.currency,
        "due_on": event.due_on,
    }


def _statuses(statuses: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"id": each, "status": status} for each, status in sorted(statuses.items())]
