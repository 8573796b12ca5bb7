"""What conversations are told of their orders and invoices on chat.inbound: where the flow reacts, and nowhere else."""

from __future__ import annotations

import pytest

from chatledger import topics
from chatledger.errors import BrokerUnavailable
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, OrderReported
from chatledger.flows import FLOWS
from chatledger_billing.app import Billing, set_up_database
from chatledger_billing.commands import BillingCommands
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.store import postgres_store
from tests.services.billing_given import (
    NOON,
    PROJECTS,
    TALKATIVE,
    RememberedPublisher,
    billing_on,
    cancellation,
    cause,
    order_records,
    placed,
    record,
    relay_all,
    talkative,
    unpriced,
    writer_on,
)

pytestmark = pytest.mark.postgres
ORDER, INVOICE = placed(1).order_id, invoice_id_of(placed(1).order_id)


@pytest.fixture(autouse=True)
def _talkative_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOWS, TALKATIVE.name, TALKATIVE)


async def told(url: str, billing: Billing, publisher: RememberedPublisher) -> list[tuple[str, ...]]:
    """Relay, and return what was told since: the kind, what it says, and how it stands."""
    publisher.published.clear()
    await relay_all(billing, url)
    said: list[tuple[str, ...]] = []
    for each in publisher.on(topics.INBOUND):
        match each.data:
            case OrderReported() as report:
                said.append(("order", report.status, report.reason or "", report.refused or ""))
            case InvoiceReported() as report:
                said.append(("invoice", report.because, report.invoice.status, str(report.invoice.paid_minor)))
    return said


async def test_a_store_is_told_what_becomes_of_an_order_and_its_invoice(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher, projects = RememberedPublisher(), talkative()
    with billing_on(postgres_store(postgres_url), publisher, projects=projects) as billing:
        async with BillingCommands(postgres_url, projects) as commands:
            await billing.biller.handle(order_records([1]))
            assert await told(postgres_url, billing, publisher) == [("invoice", "invoice.issued", "issued", "0")]
            await commands.pay(INVOICE, reference="a", amount_minor=50_000, method="upi", paid_at=None, by="test")
            await commands.pay(INVOICE, reference="b", amount_minor=25_000, method="upi", paid_at=None, by="test")
            await commands.refund(INVOICE, reference="c", amount_minor=75_000, reason="damaged", by="test")
            assert await told(postgres_url, billing, publisher) == [
                ("invoice", "payment.recorded", "partly_paid", "50000"),
                ("invoice", "payment.recorded", "paid", "75000"),
                ("invoice", "invoice.paid", "paid", "75000"),
                ("invoice", "payment.refunded", "issued", "0"),
            ]
            await commands.advance(ORDER, to=None, by="test")
            await commands.cancel(ORDER, reason="out of stock", by="test")
            await billing.biller.handle([record(cause(cancellation(1), 1), 5)])
            assert await told(postgres_url, billing, publisher) == [
                ("order", "processing", "", ""),
                ("order", "cancelled", "out of stock", ""),
                ("invoice", "invoice.voided", "void", "0"),
                ("order", "cancelled", "out of stock", "this order is cancelled already"),
            ]
    assert [each.data.type for each in publisher.on(topics.BILLING)] == [
        "order.advanced",
        "order.cancelled",
        "invoice.voided",
        "order.cancellation_refused",
    ]


async def test_a_report_is_from_outside_and_names_the_event_that_it_is_about(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher, projects=talkative()) as billing:
        await billing.biller.handle(order_records([1]))
        await relay_all(billing, postgres_url)
    (report,), issued = publisher.on(topics.INBOUND), publisher.on(topics.BILLING)[-1]
    assert (report.id, report.causation_id) == (derive_id(issued.id, "reported"), issued.id)
    assert (report.time, report.correlation_id, report.traceparent) == (NOON, issued.correlation_id, issued.traceparent)
    assert (report.stream, report.stream_version) == (f"conversation-{issued.conversation}", None)
    assert isinstance(report.data, InvoiceReported)
    shown = report.data.invoice
    assert (shown.number, shown.order_number) == ("INV-2026-000001", placed(1).order_number)
    assert (shown.total_minor, shown.subtotal_minor, shown.lines) == (75_000, 75_000, placed(1).lines)


async def test_an_order_without_a_price_is_told_when_it_is_confirmed(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher, projects=talkative()) as billing:
        await billing.biller.handle([record(cause(unpriced(placed(1)), 1), 0)])
        assert await told(postgres_url, billing, publisher) == [("order", "confirmed", "", "")]


async def test_a_project_whose_flow_does_not_react_is_told_nothing(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher, projects = RememberedPublisher(), {**talkative("shop"), "order-form": PROJECTS["order-form"]}
    with billing_on(postgres_store(postgres_url), publisher, projects=projects) as billing:
        theirs = record(cause(placed(2), 2, project="shop"), 1)
        gone = record(cause(unpriced(placed(3)), 3, project="gone"), 2)
        await billing.biller.handle([*order_records([1]), theirs, gone])
        await relay_all(billing, postgres_url)
    assert [each.conversation for each in publisher.on(topics.INBOUND)] == ["shop/chat2desk/2"]


async def test_what_was_not_acknowledged_is_reported_again_with_the_same_ids(postgres_url: str) -> None:
    class InboundAway(RememberedPublisher):
        async def publish(self, topic: str, envelopes) -> None:
            await super().publish(topic, envelopes)
            if topic == topics.INBOUND and not self.refused:
                self.refused += 1
                raise BrokerUnavailable

    await set_up_database(postgres_url)
    publisher = InboundAway()
    with billing_on(postgres_store(postgres_url), publisher, projects=talkative()) as billing:
        await billing.biller.handle(order_records([1, 2]))
        with pytest.raises(BrokerUnavailable):
            await relay_all(billing, postgres_url)
        async with writer_on(postgres_url) as writer:
            assert (await writer.position(), await writer.reported()) == (0, 0)
        await relay_all(billing, postgres_url)
    for topic in (topics.BILLING, topics.INBOUND):
        ids = [each.id for each in publisher.on(topic)]
        assert ids == ids[: len(ids) // 2] * 2


async def test_laying_down_the_read_model_again_tells_nobody_anything_twice(postgres_url: str) -> None:
    await set_up_database(postgres_url)
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher, projects=talkative()) as billing:
        await billing.biller.handle(order_records([1, 2]))
        await relay_all(billing, postgres_url)
        before = publisher.on(topics.INBOUND)
        rows = await rows_of(postgres_url)
        async with writer_on(postgres_url) as writer:
            for table in ("orders", "invoices", "relay"):
                await writer._connection.execute(f"TRUNCATE billing.{table}")
        await relay_all(billing, postgres_url)
        await billing.biller.handle(order_records([3]))
        await relay_all(billing, postgres_url)
    after = publisher.on(topics.INBOUND)
    assert after[: len(before)] == before
    assert [each.conversation for each in after[len(before) :]] == ["order-form/chat2desk/3"]
    assert (await rows_of(postgres_url))[: len(rows)] == rows


async def rows_of(url: str) -> list[tuple]:
    async with writer_on(url) as writer:
        orders = await (await writer._connection.execute("SELECT * FROM billing.orders ORDER BY position")).fetchall()
    return [tuple(row) for row in orders]
