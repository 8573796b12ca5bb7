"""What records of chat.billing mean to this service: orders, changes of orders, dead letters, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from chatledger.dead_letters import dead_letter
from chatledger.errors import UndecodableRecord
from chatledger.events.base import Event
from chatledger.events.codec import from_wire, refuse_newer_version
from chatledger.events.dialog import OrderCancelled
from chatledger.events.envelope import Envelope, project_of
from chatledger.events.orders import OrderAdvanced, OrderConfirmed, OrderCreated
from chatledger.ports import ConsumedRecord
from chatledger_crm.settings import SERVICE

OURS = frozenset(each.type.encode() for each in (OrderCreated, OrderConfirmed, OrderAdvanced, OrderCancelled))


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One change of an order that the CRM is to know; its id is that of billing's event."""

    id: str
    order_id: str
    project: str
    status: str
    correlation_id: str
    traceparent: str | None


@dataclass(slots=True, kw_only=True)
class Work:
    """What a batch asks for, in the order of its records."""

    orders: list[OrderCreated] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    dead_letters: list[Envelope] = field(default_factory=list)


def read_batch(
    records: Iterable[ConsumedRecord], *, projects: Collection[str], incarnation: str, now: datetime
) -> Work:
    """Sort records into work. Those of projects without a CRM ask for nothing."""
    work = Work()
    for record in records:
        kind = dict(record.headers).get("ce_type")
        if kind is not None and kind not in OURS:
            continue
        try:
            _read(from_wire(record.headers, record.value), work, projects)
        except UndecodableRecord as wrong:
            work.dead_letters.append(dead_letter(record, wrong, service=SERVICE, incarnation=incarnation, now=now))
    return work


def _read(envelope: Envelope, work: Work, projects: Collection[str]) -> None:
    project, event = project_of(envelope.conversation), envelope.data
    if project in projects:
        refuse_newer_version(event)
    order_id, status = _order_and_status(event)
    if order_id is None or project not in projects:
        return
    if isinstance(event, OrderCreated):
        work.orders.append(event)
    work.pushes.append(
        Push(
            id=envelope.id,
            order_id=order_id,
            project=project,
            status=status,
            correlation_id=envelope.correlation_id,
            traceparent=envelope.traceparent,
        )
    )


def _order_and_status(event: Event) -> tuple[str | None, str]:
    match event:
        case OrderCreated():
            return event.order_id, "draft"
        case OrderConfirmed():
            return event.order_id, "confirmed"
        case OrderAdvanced():
            return event.order_id, event.status
        case OrderCancelled():
            return event.order_id, "cancelled"
    return None, ""
