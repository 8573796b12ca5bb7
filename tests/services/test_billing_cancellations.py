"""A client's wish that an order be cancelled: through the handler, over memory and over Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chatledger import topics
from chatledger.events.dialog import OrderCancelled
from chatledger.events.orders import CancellationRefused, InvoiceVoided
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger_billing import invoices, orders
from chatledger_billing.app import set_up_database
from chatledger_billing.decisions import cause_after
from chatledger_billing.invoices import invoice_id_of, invoice_stream
from chatledger_billing.numbering import Series
from chatledger_billing.orders import order_stream
from chatledger_billing.store import BillingStore, memory_store, postgres_store
from chatledger_billing.unit_of_work import UnitOfWork
from tests.services.billing_given import (
    NOON,
    RememberedPublisher,
    StoreMaker,
    billing_on,
    cancellation,
    cause,
    order_records,
    placed,
    record,
    unpriced,
)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def open_store(request: pytest.FixtureRequest) -> Iterator[StoreMaker]:
    """Opens the same store again and again, as one process after another does."""
    if request.param == "memory":
        store = memory_store()
        yield lambda: store
    else:
        url = request.getfixturevalue("postgres_url")
        asyncio.run(set_up_database(url))
        yield lambda: postgres_store(url)


def wish(client: int, offset: int = 10) -> ConsumedRecord:
    return record(cause(cancellation(client), client), offset)


def stream_types(store: BillingStore, stream: str) -> list[str]:
    return [each.event.type for each in store.stream(stream)]


async def test_an_order_is_cancelled_and_its_invoice_voided(open_store: StoreMaker) -> None:
    store = open_store()
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        await billing.biller.handle([wish(1)])
        order, invoice = store.order(placed(1).order_id), store.invoice(invoice_id_of(placed(1).order_id))
        assert order is not None
        assert invoice is not None
        assert (order.status, order.reason) == ("cancelled", "client")
        assert (invoice.status, invoice.credit_note) == ("void", "CN-2026-000001")
        asked = cause(cancellation(1), 1)
        for stream in (order_stream(order.id), invoice_stream(invoice.id)):
            newest = store.stream(stream)[-1].cause
            assert (newest.causation_id, newest.correlation_id) == (asked.id, asked.correlation_id)


async def test_placed_and_cancelled_in_one_batch(open_store: StoreMaker) -> None:
    store, publisher = open_store(), RememberedPublisher()
    with billing_on(store, publisher) as billing:
        await billing.biller.handle([*order_records([1, 2]), wish(2), wish(1, 11)])
        order_id = placed(1).order_id
        assert stream_types(store, order_stream(order_id)) == ["order.created", "order.confirmed", "order.cancelled"]
        assert stream_types(store, invoice_stream(invoice_id_of(order_id))) == ["invoice.issued", "invoice.voided"]
        notes = [each.event.credit_note for _, each in store.follow(0, 100) if isinstance(each.event, InvoiceVoided)]
        assert notes == ["CN-2026-000001", "CN-2026-000002"]
        assert store.register(Series.CREDIT_NOTE, "order-form", 2026).last == 2
        assert publisher.letters() == []


async def test_the_same_wish_again_changes_nothing(open_store: StoreMaker) -> None:
    with billing_on(open_store(), RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        await billing.biller.handle([wish(1), wish(1, 11)])
    before = open_store().follow(0, 100)
    with billing_on(open_store(), RememberedPublisher(), incarnation="second") as billing:
        await billing.biller.handle([*order_records([1]), wish(1), wish(1, 11)])
        assert open_store().follow(0, 100) == before
        assert sum(isinstance(each.event, OrderCancelled) for _, each in before) == 1


async def test_a_wish_that_comes_too_late_is_refused_once_with_the_rule(open_store: StoreMaker) -> None:
    store = open_store()
    order_id, stream = placed(1).order_id, order_stream(placed(1).order_id)
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        advance(store, order_id, 2)
        await billing.biller.handle([wish(1)])
        await billing.biller.handle([wish(1)])
        newest = store.stream(stream)[-1].event
        assert isinstance(newest, CancellationRefused)
        assert "until it is shipped" in newest.rule
        assert stream_types(store, stream).count("order.cancellation_refused") == 1
        order, invoice = store.order(order_id), store.invoice(invoice_id_of(order_id))
        assert order is not None
        assert invoice is not None
        assert (order.status, invoice.status) == ("shipped", "issued")


def advance(store: BillingStore, order_id: str, times: int) -> None:
    """As a command of the API would."""
    for _ in range(times):
        work = UnitOfWork(store)
        order, stream = work.order(order_id), order_stream(order_id)
        work.add(stream, cause_after(work.stream(stream)[-1], NOON), orders.advance(order))
        store.record(work.complete(), [])


async def test_a_paid_invoice_is_voided_too_and_the_money_waits_for_a_refund(open_store: StoreMaker) -> None:
    store, invoice_id = open_store(), invoice_id_of(placed(1).order_id)
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        work = UnitOfWork(store)
        stream, invoice = work.stream(invoice_stream(invoice_id)), work.invoice(invoice_id)
        assert invoice is not None
        paid = invoices.pay(invoice, reference="upi-1", amount_minor=75_000, method="upi", paid_at=NOON)
        work.add(invoice_stream(invoice_id), cause_after(stream[-1], NOON), *paid)
        store.record(work.complete(), [])
        await billing.biller.handle([wish(1)])
        voided = store.invoice(invoice_id)
        assert voided is not None
        assert (voided.status, voided.paid_minor) == ("void", 75_000)
        assert len(invoices.refund(voided, reference="back-1", amount_minor=75_000, reason="cancelled")) == 1


async def test_an_order_without_an_invoice_is_cancelled_alone(open_store: StoreMaker) -> None:
    store = open_store()
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle([record(cause(unpriced(placed(1)), 1), 0), wish(1)])
        order = store.order(placed(1).order_id)
        assert order is not None
        assert order.status == "cancelled"
        assert store.register(Series.CREDIT_NOTE, "order-form", 2026).last == 0


async def test_a_wish_about_no_order_of_the_conversation_is_buried_and_the_others_pass(open_store: StoreMaker) -> None:
    store, publisher = open_store(), RememberedPublisher()
    strangers = record(cause(cancellation(1), 3), 4)
    with billing_on(store, publisher) as billing:
        await billing.biller.handle([*order_records([1]), strangers, wish(2, 5), wish(1, 6)])
        assert [(each.offset, each.reason.split(" '")[0]) for each in publisher.letters()] == [
            (4, "there is no order"),
            (5, "there is no order"),
        ]
        order = store.order(placed(1).order_id)
        assert order is not None
        assert order.status == "cancelled"
        first = TopicPartition(topics.DIALOG, 0)
        assert await billing.positions.load([first]) == {first: 7}


async def test_an_unknown_schema_version_is_buried(open_store: StoreMaker) -> None:
    later = wish(1)
    headers = tuple(
        (name, value.replace(b":1", b":9") if name == "ce_dataschema" else value) for name, value in later.headers
    )
    publisher = RememberedPublisher()
    with billing_on(open_store(), publisher) as billing:
        await billing.biller.handle([replace(later, headers=headers)])
    assert "schema version that is not known" in publisher.letters()[0].reason


@pytest.mark.postgres
async def test_a_wish_and_a_command_at_once_are_decided_one_after_the_other(postgres_url: str) -> None:
    """The handler decides on the order as it was, is refused by the store, and decides again on what is there now."""
    await set_up_database(postgres_url)
    other = postgres_store(postgres_url)

    class Overtaken(BillingStore):
        def record(self, decisions, trackings) -> None:
            if any(isinstance(each.event, OrderCancelled) for each in decisions):
                advance(other, placed(1).order_id, 2)
            super().record(decisions, trackings)

    store = postgres_store(postgres_url)
    store.__class__ = Overtaken
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle(order_records([1]))
        await billing.biller.handle([wish(1)])
        assert stream_types(store, order_stream(placed(1).order_id)) == [
            "order.created",
            "order.confirmed",
            "order.advanced",
            "order.advanced",
            "order.cancellation_refused",
        ]
    other.close()
