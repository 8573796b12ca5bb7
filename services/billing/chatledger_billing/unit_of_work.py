"""What is to be saved in one transaction: decisions, each on top of what is stored and of those before it.

Nothing is saved here. Whoever made it saves `complete()`; where somebody else was first the store refuses all of it,
and a new unit of work decides again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from chatledger.events.base import Event
from chatledger_billing import invoices, orders
from chatledger_billing.decisions import Cause, Decision, PlacedOrder
from chatledger_billing.invoices import Invoice, InvoiceStatus, invoice_id_of, invoice_stream
from chatledger_billing.numbering import NumberRegister, Series
from chatledger_billing.orders import Order, order_stream
from chatledger_billing.rules import RuleBroken
from chatledger_billing.store import BillingStore, invoice_of, order_of


@dataclass(slots=True, kw_only=True)
class _Counted:
    """A register, what it numbers in this transaction, and because of what."""

    register: NumberRegister
    cause: Cause
    invoice_ids: list[str] = field(default_factory=list)


class UnitOfWork:
    """Decides in memory over a store. `new_orders` are looked for at once, so that each need not be read."""

    def __init__(self, store: BillingStore, *, new_orders: Iterable[str] = ()) -> None:
        self._store = store
        self._present = store.existing(new_orders)
        self._streams: dict[str, list[Decision]] = {}
        self._registers: dict[tuple[Series, str, int], _Counted] = {}
        self._decisions: list[Decision] = []

    def stream(self, name: str) -> list[Decision]:
        """Return a stream as it will be: what is stored, then what was decided here."""
        if name not in self._streams:
            self._streams[name] = self._store.stream(name)
        return self._streams[name]

    def order(self, order_id: str) -> Order:
        """Return an order. Raises RuleBroken where there is none."""
        order = order_of(self.stream(order_stream(order_id)))
        if order is None:
            raise RuleBroken(f"there is no order {order_id!r}")
        return order

    def invoice(self, invoice_id: str) -> Invoice | None:
        """Return an invoice, None where there is none."""
        return invoice_of(self.stream(invoice_stream(invoice_id)))

    def is_handled(self, stream: str, cause: Cause) -> bool:
        """Whether something in a stream was caused by this already."""
        return any(each.cause.causation_id == cause.causation_id for each in self.stream(stream))

    def place(self, placed: PlacedOrder) -> bool:
        """Take an order over and invoice it, unless it is there already; return whether it is new."""
        stream = order_stream(placed.order.id)
        if placed.order.id in self._present or self._streams.get(stream):
            return False
        self._streams[stream] = list(placed.decisions)
        self._decisions += placed.decisions
        if placed.payment_days is not None:
            self._issue(placed.order, placed.cause, placed.issued_on, placed.payment_days)
        return True

    def cancel(self, order: Order, cause: Cause, reason: str) -> None:
        """Cancel an order, and void its invoice with a credit note. Raises RuleBroken, having decided nothing."""
        self.add(order_stream(order.id), cause, orders.cancel(order, reason))
        invoice = self.invoice(invoice_id_of(order.id))
        if invoice is not None and invoice.status is not InvoiceStatus.VOID:
            self.void(invoice, cause, reason)

    def void(self, invoice: Invoice, cause: Cause, reason: str) -> None:
        """Void an invoice with a credit note. Raises RuleBroken, having decided nothing."""
        invoices.require_voidable(invoice, reason)
        year = cause.time.year
        credit_note = self._next_number(Series.CREDIT_NOTE, invoice.project, year, invoice.id, cause)
        self.add(invoice_stream(invoice.id), cause, invoices.void(invoice, credit_note=credit_note, reason=reason))

    def add(self, stream: str, cause: Cause, *events: Event) -> None:
        """Put events at the end of a stream."""
        known = self.stream(stream)
        for event in events:
            decision = Decision(originator_id=stream, originator_version=len(known) + 1, cause=cause, event=event)
            known.append(decision)
            self._decisions.append(decision)

    def complete(self) -> list[Decision]:
        """Return everything that is to be saved; the registers' own events come last."""
        given = [
            Decision(
                originator_id=counted.register.stream,
                originator_version=counted.register.version + 1,
                cause=counted.cause,
                event=counted.register.give(counted.invoice_ids),
            )
            for counted in self._registers.values()
        ]
        return [*self._decisions, *given]

    def _issue(self, order: Order, cause: Cause, issued_on: date, payment_days: int) -> None:
        invoice_id = invoice_id_of(order.id)
        number = self._next_number(Series.INVOICE, order.project, issued_on.year, invoice_id, cause)
        issued = invoices.issue(order, number=number, issued_on=issued_on, payment_days=payment_days)
        stream = invoice_stream(invoice_id)
        # The order is new, and so is its invoice: there is nothing to read.
        self._streams[stream] = []
        self.add(stream, cause, issued)
        if issued.total_minor == 0:
            self.add(stream, cause, *invoices.settle(invoices.evolve(None, issued)))

    def _next_number(self, series: Series, project: str, year: int, invoice_id: str, cause: Cause) -> str:
        key = series, project, year
        if key not in self._registers:
            self._registers[key] = _Counted(register=self._store.register(*key), cause=cause)
        counted = self._registers[key]
        counted.invoice_ids.append(invoice_id)
        return counted.register.number(counted.register.last + len(counted.invoice_ids))
