"""From what the dialog decided to what billing decides: the order's events, then the invoice's with its number. Pure.

A Decision is one event of one aggregate as the event store keeps it: with its stream, its version and its cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from chatledger.events.base import Event
from chatledger.events.dialog import OrderPlaced
from chatledger.events.envelope import Envelope, project_of
from chatledger.events.ids import derive_id
from chatledger.projects import Project
from chatledger_billing import invoices, orders
from chatledger_billing.orders import Order
from chatledger_billing.rules import RuleBroken, require

SOURCE = "/chatledger/billing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What an event of an aggregate keeps of the event that caused it. `time` is its event time, in UTC."""

    conversation: str
    time: datetime
    correlation_id: str
    causation_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One event of one aggregate. The names of the first two fields are those of the library `eventsourcing`."""

    originator_id: str
    originator_version: int
    cause: Cause
    event: Event

    @property
    def id(self) -> str:
        """The event's id, from the stream and the version: the same at every publication."""
        return derive_id(self.originator_id, self.originator_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """An order that keeps every rule, as its events, before its invoice has a number."""

    order: Order
    decisions: tuple[Decision, ...]
    issued_on: date
    payment_days: int | None
    """None where the order has no price, and so no invoice."""

    @property
    def cause(self) -> Cause:
        """What caused it."""
        return self.decisions[0].cause


def place(envelope: Envelope, placed: OrderPlaced, projects: Mapping[str, Project]) -> PlacedOrder:
    """Decide the order of one `order.placed`. Raises RuleBroken."""
    cause = cause_of(envelope)
    project = project_of(envelope.conversation)
    client_id = envelope.conversation.split("/", 2)[2]
    stream = orders.order_stream(placed.order_id)
    created = orders.create(placed, project=project, client_id=client_id)
    draft = orders.evolve(None, created)
    confirmed = orders.confirm(draft)
    order = orders.evolve(draft, confirmed)
    issued_on = cause.time.date()
    payment_days = _payment_days(order, projects)
    if payment_days is not None:
        invoices.due_on(issued_on, payment_days)
    return PlacedOrder(
        order=order,
        decisions=(
            Decision(originator_id=stream, originator_version=1, cause=cause, event=created),
            Decision(originator_id=stream, originator_version=2, cause=cause, event=confirmed),
        ),
        issued_on=issued_on,
        payment_days=payment_days,
    )


def cause_of(envelope: Envelope) -> Cause:
    """Return what is kept of the event that came in. Raises RuleBroken when it belongs to no conversation."""
    conversation = envelope.conversation
    require(conversation.count("/") >= 2 and "\0" not in conversation, "a conversation is project/channel/client")
    return Cause(
        conversation=conversation,
        time=envelope.time.astimezone(UTC),
        correlation_id=envelope.correlation_id,
        causation_id=envelope.id,
        traceparent=envelope.traceparent,
    )


def cause_after(previous: Decision, time: datetime) -> Cause:
    """Return the cause of what somebody commands at `time`, from outside the line of events.

    A command is no event, and a cause must be in the ledger: so it is the event that the command was decided on.
    """
    return Cause(
        conversation=previous.cause.conversation,
        time=time.astimezone(UTC),
        correlation_id=previous.cause.correlation_id,
        causation_id=previous.id,
        traceparent=previous.cause.traceparent,
    )


def to_envelope(decision: Decision) -> Envelope:
    """Wrap a decision for its topic."""
    cause = decision.cause
    return Envelope(
        id=decision.id,
        source=SOURCE,
        conversation=cause.conversation,
        time=cause.time,
        stream=decision.originator_id,
        stream_version=decision.originator_version,
        correlation_id=cause.correlation_id,
        causation_id=cause.causation_id,
        traceparent=cause.traceparent,
        data=decision.event,
    )


def _payment_days(order: Order, projects: Mapping[str, Project]) -> int | None:
    if order.amounts is None:
        return None
    project = projects.get(order.project)
    if project is None:
        raise RuleBroken(f"no project {order.project!r} is configured, which would say when to pay")
    return project.payment_days
