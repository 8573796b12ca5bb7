"""An order or an invoice as it stood right after one of its events: what reports and rows are made from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from chatledger_billing import invoices, orders
from chatledger_billing.decisions import Decision
from chatledger_billing.invoices import Invoice
from chatledger_billing.numbering import NumbersGiven
from chatledger_billing.orders import Order

ReadStream = Callable[[str, int], list[Decision]]
"""Takes a stream and a version; returns the stream's decisions up to and including that version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state after one event, and when its stream began and last changed."""

    state: Order | Invoice
    conversation: str
    began_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """One event of the notification log: its place there, the event, and what it led to."""

    place: int
    decision: Decision
    snapshot: Snapshot


def follow(log: Iterable[tuple[int, Decision]], read_stream: ReadStream) -> Iterator[Followed]:
    """Yield what each decision of the log led to; the registers' own are left out.

    A stream that began before this piece of the log is read once; from then on its events are folded as they come.
    """
    newest: dict[str, Snapshot] = {}
    for place, decision in log:
        if isinstance(decision.event, NumbersGiven):
            continue
        stream, version = decision.originator_id, decision.originator_version
        before = newest.get(stream)
        if before is None and version > 1:
            before = snapshot_of(read_stream(stream, version - 1))
        newest[stream] = snapshot = after(before, decision)
        yield Followed(place=place, decision=decision, snapshot=snapshot)


def snapshot_of(decisions: Iterable[Decision]) -> Snapshot | None:
    """Fold a whole stream; None where it is empty."""
    snapshot = None
    for decision in decisions:
        snapshot = after(snapshot, decision)
    return snapshot


def after(before: Snapshot | None, decision: Decision) -> Snapshot:
    """Fold one decision more. Raises InvariantViolated for an event that cannot have happened."""
    known = None if before is None else before.state
    state: Order | Invoice
    if decision.originator_id.startswith("order-"):
        assert known is None or isinstance(known, Order)
        state = orders.evolve(known, decision.event)
    else:
        assert known is None or isinstance(known, Invoice)
        state = invoices.evolve(known, decision.event)
    time = decision.cause.time
    return Snapshot(
        state=state,
        conversation=decision.cause.conversation,
        began_at=time if before is None else before.began_at,
        changed_at=time,
    )
