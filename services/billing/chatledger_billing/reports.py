"""What a conversation is told of its orders and invoices, on chat.inbound: only where the project's flow reacts. Pure.

A report has the time of the event that it is about, and an id that is derived from that event's: published again it is
the same report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chatledger.events.base import Event
from chatledger.events.dialog import OrderCancelled
from chatledger.events.envelope import Envelope, from_outside, project_of
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, OrderReported
from chatledger.events.orders import (
    CancellationRefused,
    InvoiceIssued,
    InvoicePaid,
    InvoiceVoided,
    OrderAdvanced,
    OrderConfirmed,
    PaymentRecorded,
    PaymentRefunded,
)
from chatledger.flows import FLOWS
from chatledger.projects import Project
from chatledger_billing.decisions import SOURCE, to_envelope
from chatledger_billing.invoices import Invoice, document
from chatledger_billing.orders import Order
from chatledger_billing.snapshots import Followed

_OF_INVOICES = (InvoiceIssued, PaymentRecorded, PaymentRefunded, InvoicePaid, InvoiceVoided)


class Reporter:
    """Knows which projects want to be told what."""

    def __init__(self, projects: Mapping[str, Project]) -> None:
        self._wanted = {
            name: frozenset(FLOWS[project.flow].react) & {OrderReported, InvoiceReported}
            for name, project in projects.items()
        }

    @property
    def has_listeners(self) -> bool:
        """Whether any project wants to be told anything."""
        return any(self._wanted.values())

    def reports(self, followed: Iterable[Followed]) -> list[Envelope]:
        """Return the reports of these events, in their order."""
        reports = []
        for each in followed:
            wanted = self._wanted.get(project_of(each.snapshot.conversation))
            report = report_of(each) if wanted else None
            if report is not None and wanted and type(report) in wanted:
                reports.append(_wrap(report, to_envelope(each.decision)))
        return reports


def report_of(followed: Followed) -> Event | None:
    """Return what is told of one event, None where nothing is: of a confirmed order with a price, its invoice tells."""
    event, state = followed.decision.event, followed.snapshot.state
    if isinstance(state, Invoice):
        is_told = isinstance(event, _OF_INVOICES)
        return InvoiceReported(because=event.type, invoice=document(state)) if is_told else None
    match event:
        case OrderAdvanced() | OrderCancelled():
            return _order_report(state, reason=state.reason)
        case CancellationRefused():
            return _order_report(state, reason=state.reason, refused=event.rule)
        case OrderConfirmed() if state.amounts is None:
            return _order_report(state)
    return None


def _order_report(order: Order, *, reason: str | None = None, refused: str | None = None) -> OrderReported:
    return OrderReported(
        order_id=order.id, order_number=order.number, status=str(order.status), reason=reason, refused=refused
    )


def _wrap(report: Event, about: Envelope) -> Envelope:
    return from_outside(
        report,
        id=derive_id(about.id, "reported"),
        source=SOURCE,
        conversation=about.conversation,
        time=about.time,
        cause=about,
    )
