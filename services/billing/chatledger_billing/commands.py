"""Commands on orders and invoices, from the HTTP API or a program: decided and saved at once, in the event store.

The billing process's relay publishes what they lead to. Where somebody else changed the same order or invoice meanwhile
the command is decided again on what is there now, so that a rule that no longer holds is never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import psycopg
import structlog
from eventsourcing.persistence import IntegrityError, PersistenceError, ProgrammingError

from chatledger.adapters.clock import SystemClock
from chatledger.errors import OutsideUnavailable
from chatledger.ports import Clock
from chatledger.projects import Project
from chatledger_billing import invoices, orders
from chatledger_billing.decisions import Cause, Decision, cause_after
from chatledger_billing.invoices import Invoice, invoice_id_of, invoice_stream
from chatledger_billing.orders import OrderStatus, order_stream
from chatledger_billing.rules import RuleBroken
from chatledger_billing.store import BillingStore, postgres_store
from chatledger_billing.unit_of_work import UnitOfWork
from chatledger_billing.worker import Worker

CONFLICTS_MAX = 100
"""Each conflict means that another writer saved something; after so many the caller is asked to come back."""

CONNECT_TIMEOUT_S = 5
"""A caller is told soon that Postgres is away."""

Result = TypeVar("Result")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedOrder:
    """An order's whole stream after a command, and its invoice's, which is empty where there is none."""

    order: list[Decision]
    invoice: list[Decision]


class BillingCommands:
    """Decides and saves, one command at a time; `open` before use, `close` after.

    Every command raises RuleBroken where a rule stands against it, OutsideUnavailable where Postgres is away; after the
    latter it may have been carried out all the same. `by` says in the log whose command it was.
    """

    def __init__(
        self,
        url: str,
        projects: Mapping[str, Project],
        *,
        clock: Clock | None = None,
        open_store: Callable[[str], BillingStore] | None = None,
    ) -> None:
        self.projects = projects
        self._url, self._open_store = url, open_store or _reachable_store
        self._clock = clock or SystemClock()
        self._worker: Worker | None = None
        self._store: BillingStore | None = None

    async def open(self) -> None:
        """Make ready. It connects with the first command, so that a database may be away meanwhile."""
        self._worker = Worker()

    async def close(self) -> None:
        """Wait for the command in hand, and disconnect."""
        if self._worker is not None:
            self._worker.close()
        if self._store is not None:
            self._store.close()

    async def __aenter__(self) -> BillingCommands:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def cancel(self, order_id: str, *, reason: str, by: str) -> ChangedOrder:
        """Cancel an order; its invoice is voided with a credit note in the same transaction, paid or not.

        What was paid stays with us until it is refunded, by a command of its own.
        """

        def decide(work: UnitOfWork, now: datetime) -> ChangedOrder:
            order, stream = work.order(order_id), order_stream(order_id)
            work.cancel(order, _cause(work, stream, now), reason)
            return _changed(work, order_id)

        return await self._run(decide, command="cancel", of=order_id, by=by)

    async def advance(self, order_id: str, *, to: OrderStatus | None, by: str) -> ChangedOrder:
        """Bring an order to its next status; where `to` is given it must be that one."""

        def decide(work: UnitOfWork, now: datetime) -> ChangedOrder:
            order, stream = work.order(order_id), order_stream(order_id)
            work.add(stream, _cause(work, stream, now), orders.advance(order, to))
            return _changed(work, order_id)

        return await self._run(decide, command="advance", of=order_id, by=by)

    async def pay(
        self, invoice_id: str, *, reference: str, amount_minor: int, method: str, paid_at: datetime | None, by: str
    ) -> list[Decision]:
        """Record a payment; without `paid_at` it came now. The same reference and amount again changes nothing."""

        def decide(work: UnitOfWork, now: datetime) -> list[Decision]:
            invoice, stream = _invoice(work, invoice_id), invoice_stream(invoice_id)
            paid = invoices.pay(
                invoice, reference=reference, amount_minor=amount_minor, method=method, paid_at=paid_at or now
            )
            work.add(stream, _cause(work, stream, now), *paid)
            return work.stream(stream)

        return await self._run(decide, command="pay", of=invoice_id, by=by)

    async def refund(
        self, invoice_id: str, *, reference: str, amount_minor: int, reason: str, by: str
    ) -> list[Decision]:
        """Record that money went back. The same reference and amount again changes nothing."""

        def decide(work: UnitOfWork, now: datetime) -> list[Decision]:
            invoice, stream = _invoice(work, invoice_id), invoice_stream(invoice_id)
            sent = invoices.refund(invoice, reference=reference, amount_minor=amount_minor, reason=reason)
            work.add(stream, _cause(work, stream, now), *sent)
            return work.stream(stream)

        return await self._run(decide, command="refund", of=invoice_id, by=by)

    async def void(self, invoice_id: str, *, reason: str, by: str) -> list[Decision]:
        """Take an invoice back by a credit note; its order stays as it is."""

        def decide(work: UnitOfWork, now: datetime) -> list[Decision]:
            invoice, stream = _invoice(work, invoice_id), invoice_stream(invoice_id)
            work.void(invoice, _cause(work, stream, now), reason)
            return work.stream(stream)

        return await self._run(decide, command="void", of=invoice_id, by=by)

    async def _run(self, decide: Callable[[UnitOfWork, datetime], Result], *, command: str, of: str, by: str) -> Result:
        if self._worker is None:
            raise OutsideUnavailable("the commands are not open")
        try:
            result = await self._worker.run(self._decide_and_save, decide)
        except ProgrammingError as wrong:
            raise OutsideUnavailable(f"billing has not set up its tables yet: {wrong}") from wrong
        except PersistenceError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
        _log.info("command.done", command=command, of=of, by=by)
        return result

    def _decide_and_save(self, decide: Callable[[UnitOfWork, datetime], Result]) -> Result:
        if self._store is None:
            self._store = self._open_store(self._url)
        for _ in range(CONFLICTS_MAX):
            work = UnitOfWork(self._store)
            result = decide(work, self._clock.now())
            decisions = work.complete()
            if not decisions:
                return result
            try:
                self._store.record(decisions, [])
            except IntegrityError:
                continue
            return result
        raise OutsideUnavailable(f"refused {CONFLICTS_MAX} times because another writer was first")


def _reachable_store(url: str) -> BillingStore:
    """Return the store. Raises OutsideUnavailable at once where nobody answers: the library would wait, and go on."""
    try:
        psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
    return postgres_store(url, connect_timeout_s=CONNECT_TIMEOUT_S, checks_connections=True)


def _invoice(work: UnitOfWork, invoice_id: str) -> Invoice:
    invoice = work.invoice(invoice_id)
    if invoice is None:
        raise RuleBroken(f"there is no invoice {invoice_id!r}")
    return invoice


def _cause(work: UnitOfWork, stream: str, now: datetime) -> Cause:
    return cause_after(work.stream(stream)[-1], now)


def _changed(work: UnitOfWork, order_id: str) -> ChangedOrder:
    return ChangedOrder(
        order=work.stream(order_stream(order_id)), invoice=work.stream(invoice_stream(invoice_id_of(order_id)))
    )
