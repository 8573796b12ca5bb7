"""From records of chat.dialog to what is to be decided about each. Pure; nothing is looked up here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chatledger.errors import UndecodableRecord
from chatledger.events.codec import from_wire
from chatledger.events.dialog import CancellationRequested, OrderPlaced
from chatledger.events.envelope import Envelope
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger.projects import Project
from chatledger_billing.decisions import Cause, PlacedOrder, cause_of, place
from chatledger_billing.rules import RuleBroken

_WANTED = frozenset(("ce_type", each.type.encode()) for each in (OrderPlaced, CancellationRequested))
"""The headers of what is decoded. All other records just move the position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCancellation:
    """A client wants an order to be cancelled. Whether that can be is seen when the order is."""

    order_id: str
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A record that can be decided about: an order that keeps the rules, or a client's wish."""

    record: ConsumedRecord
    envelope: Envelope
    wanted: PlacedOrder | WantedCancellation


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecord:
    """A record that is given up, and why; `cause` is its event where it could be read."""

    record: ConsumedRecord
    reason: str
    cause: Envelope | None


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a batch of records comes to, before anything is saved."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[RefusedRecord] = field(default_factory=list)
    positions: dict[TopicPartition, int] = field(default_factory=dict)


def read_batch(records: Sequence[ConsumedRecord], projects: Mapping[str, Project]) -> Batch:
    """Look at each record by itself."""
    batch = Batch()
    for record in records:
        batch.positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if _WANTED.isdisjoint(record.headers):
            continue
        cause = None
        try:
            cause = from_wire(record.headers, record.value)
            batch.accepted.append(Accepted(record=record, envelope=cause, wanted=_wanted(cause, projects)))
        except (UndecodableRecord, RuleBroken) as wrong:
            batch.refused.append(RefusedRecord(record=record, reason=str(wrong), cause=cause))
    return batch


def _wanted(envelope: Envelope, projects: Mapping[str, Project]) -> PlacedOrder | WantedCancellation:
    match envelope.data:
        case OrderPlaced() as placed:
            return place(envelope, placed, projects)
        case CancellationRequested() as requested:
            return WantedCancellation(order_id=requested.order_id, cause=cause_of(envelope))
    raise RuleBroken("the event has a schema version that is not known here")
