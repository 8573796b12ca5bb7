"""Commands straight on the event store: many at once, with the handler at work beside them, and with Postgres away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chatledger import topics
from chatledger.adapters.clock import ManualClock
from chatledger.errors import OutsideUnavailable
from chatledger.events.envelope import Envelope
from chatledger.events.orders import InvoicePaid, InvoiceVoided, PaymentRecorded
from chatledger_billing.app import set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.decisions import Decision
from chatledger_billing.invoices import invoice_id_of, invoice_stream
from chatledger_billing.orders import OrderStatus, order_stream
from chatledger_billing.rules import RuleBroken
from chatledger_billing.store import memory_store, postgres_store
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    RememberedPublisher,
    billing_on,
    cancellation,
    cause,
    order_records,
    placed,
    record,
    relay_all,
)

ORDER, INVOICE = placed(1).order_id, invoice_id_of(placed(1).order_id)


@asynccontextmanager
async def commands_on(url: str, orders: int = 1) -> AsyncIterator[BillingCommands]:
    """Commands over the orders of so many clients."""
    await set_up_database(url)
    with billing_on(postgres_store(url), RememberedPublisher()) as billing:
        await billing.biller.handle(order_records(range(1, orders + 1)))
    async with BillingCommands(url, PROJECTS, clock=ManualClock(NOON)) as commands:
        yield commands


async def pay(commands: BillingCommands, reference: str, amount_minor: int = 75_000) -> list[Decision]:
    return await commands.pay(
        INVOICE, reference=reference, amount_minor=amount_minor, method="upi", paid_at=None, by="test"
    )


async def outcomes(*running) -> list[bool]:
    """Which of these succeeded; the others broke a rule."""
    results = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(each, RuleBroken) for each in results if isinstance(each, BaseException)), results
    return [not isinstance(each, BaseException) for each in results]


@pytest.mark.postgres
async def test_the_same_payment_from_many_sides_at_once_is_one_payment(postgres_url: str) -> None:
    async with commands_on(postgres_url) as first, BillingCommands(postgres_url, PROJECTS) as second:
        answers = await asyncio.gather(*(pay(each, "upi-1", 50_000) for each in (first, second) * 8))
    for answer in answers:
        (payment,) = [each.event for each in answer if isinstance(each.event, PaymentRecorded)]
        assert (payment.reference, payment.amount_minor) == ("upi-1", 50_000)


@pytest.mark.postgres
async def test_of_many_payments_at_once_only_what_is_owed_is_taken(postgres_url: str) -> None:
    async with commands_on(postgres_url) as first, BillingCommands(postgres_url, PROJECTS) as second:
        took = await outcomes(
            *(
                pay(each, f"{side}-{count}", 25_000)
                for count in range(6)
                for side, each in (("a", first), ("b", second))
            )
        )
    assert took.count(True) == 3
    store = postgres_store(postgres_url)
    invoice = store.invoice(INVOICE)
    assert invoice is not None
    assert (invoice.status, invoice.balance_minor) == ("paid", 0)
    assert sum(isinstance(each.event, InvoicePaid) for each in store.stream(invoice_stream(INVOICE))) == 1
    store.close()


@pytest.mark.postgres
async def test_a_command_is_decided_again_where_another_was_first(postgres_url: str) -> None:
    """Both would advance a confirmed order to processing; one of them finds that it is, and breaks a rule."""
    async with commands_on(postgres_url) as first, BillingCommands(postgres_url, PROJECTS) as second:
        took = await outcomes(
            *(each.advance(ORDER, to=OrderStatus.PROCESSING, by="test") for each in (first, second) * 3)
        )
    assert took.count(True) == 1


@pytest.mark.postgres
async def test_credit_notes_have_no_gap_while_clients_and_staff_cancel_at_once(postgres_url: str) -> None:
    clients = 24
    async with commands_on(postgres_url, clients) as first, BillingCommands(postgres_url, PROJECTS) as second:
        store = postgres_store(postgres_url)
        with billing_on(store, RememberedPublisher()) as billing:

            async def clients_cancel() -> None:
                for client in range(1, clients + 1, 2):
                    await billing.biller.handle([record(cause(cancellation(client), client), 100 + client)])

            by_staff = [
                (first, second)[client % 2].cancel(placed(client).order_id, reason="staff", by="test")
                for client in range(1, clients + 1)
            ]
            await asyncio.gather(clients_cancel(), outcomes(*by_staff))
            log = [each.event for _, each in store.follow(0, 10_000)]
    notes = [event.credit_note for event in log if isinstance(event, InvoiceVoided)]
    assert notes == [f"CN-2026-{count:06d}" for count in range(1, clients + 1)]
    assert sum(event.type == "order.cancelled" for event in log) == clients


@pytest.mark.postgres
async def test_what_a_command_leads_to_names_a_cause_that_was_published(postgres_url: str) -> None:
    async with commands_on(postgres_url) as commands:
        await pay(commands, "upi-1")
        await commands.refund(INVOICE, reference="back", amount_minor=1, reason="kind", by="test")
        await commands.cancel(ORDER, reason="out of stock", by="test")
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher) as billing:
        await relay_all(billing, postgres_url)
    published: list[Envelope] = publisher.on(topics.BILLING)
    placed_by = cause(placed(1), 1)
    known = {placed_by.id}
    for each in published:
        assert each.causation_id in known
        assert each.correlation_id == placed_by.correlation_id
        assert each.conversation == placed_by.conversation
        known.add(each.id)
    versions: dict[str, list[int | None]] = {}
    for each in published:
        versions.setdefault(each.stream, []).append(each.stream_version)
    assert versions == {order_stream(ORDER): [1, 2, 3], invoice_stream(INVOICE): [1, 2, 3, 4, 5]}


async def test_a_command_on_nothing_breaks_a_rule() -> None:
    async with BillingCommands("", PROJECTS, open_store=lambda url: memory_store()) as commands:
        with pytest.raises(RuleBroken, match="no invoice"):
            await pay(commands, "upi-1")
        with pytest.raises(RuleBroken, match="no order"):
            await commands.cancel(ORDER, reason="wrong", by="test")


async def test_without_postgres_a_command_says_that_it_is_away() -> None:
    async with BillingCommands("postgresql://nobody@127.0.0.1:1/none", PROJECTS) as commands:
        with pytest.raises(OutsideUnavailable, match="does not answer"):
            await pay(commands, "upi-1")
    with pytest.raises(OutsideUnavailable, match="not open"):
        await pay(BillingCommands("", PROJECTS), "upi-1")


@pytest.mark.postgres
async def test_before_billing_ran_a_command_says_that_it_is_not_there_yet(postgres_url: str) -> None:
    async with BillingCommands(postgres_url, PROJECTS) as commands:
        with pytest.raises(OutsideUnavailable, match="not set up its tables"):
            await pay(commands, "upi-1")
