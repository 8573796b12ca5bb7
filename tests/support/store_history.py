"""A store's histories for the ledger's tests, built event by event: an order, its invoice and payments, messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from chatledger import topics
from chatledger.events import Envelope, Event, dialog, inbound
from chatledger.events.deliveries import MessageSent
from chatledger.events.envelope import conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.orders import (
    Discount,
    InvoiceIssued,
    InvoicePaid,
    OrderConfirmed,
    OrderCreated,
    OrderLine,
    PaymentRecorded,
)
from chatledger.events.outreach import CampaignCreated, CampaignKind
from chatledger.pricing import amounts

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
LINES = (
    OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM-50", unit="bag", tax_bp=1_800),
    OrderLine(name="Sand", quantity=3, unit_price_minor=33_333, sku="SAND", unit="m3", tax_bp=500),
)
DISCOUNTS = (Discount(name="monsoon", percent_bp=1_000), Discount(name="FIRST", amount_minor=5_000))
PROJECT = "store"


@dataclass(kw_only=True)
class StoreHistory:
    """One client's history, or, with a key of its own, a campaign's. `placed` is what lies on the topics, in order."""

    client: str = "+919900000001"
    placed: list[tuple[str, Envelope]] = field(default_factory=list)

    @property
    def conversation(self) -> str:
        """The client's conversation."""
        return conversation_id(PROJECT, "twilio", self.client)

    def told(self, event: Event, *, cause: Envelope | None = None) -> Envelope:
        """What comes in on chat.inbound."""
        return self._place(
            topics.INBOUND,
            from_outside(
                event,
                id=derive_id("told", self.conversation, len(self.placed)),
                source="/chatledger/ingress",
                conversation=self.conversation,
                time=START + timedelta(seconds=len(self.placed)),
                cause=cause,
            ),
        )

    def said(self, text: str) -> Envelope:
        """The client writes."""
        number = f"SM{len(self.placed)}"
        return self.told(
            inbound.MessageReceived(
                channel="twilio", client_id=self.client, provider_message_id=number, text=text, reply_to={}, raw={}
            )
        )

    def decided(self, cause: Envelope, *events: Event, topic: str = topics.DIALOG, stream: str = "") -> list[Envelope]:
        """What a service decided because of `cause`, in the stream that is given, or the conversation's."""
        stream = stream or f"conversation-{self.conversation}"
        return [self._decide(cause, event, topic, stream) for event in events]

    def sent(self, requested: Envelope, *later: Event) -> None:
        """Notify sends what was asked for; `later` is what the provider says of it."""
        event = MessageSent(delivery_id=requested.id, channel="twilio", provider_message_id="SM1", attempts=1)
        self.decided(requested, event, *later, topic=topics.NOTIFY, stream=f"delivery-{requested.id}")

    def replied(self, cause: Envelope, text: str = "Hello") -> Envelope:
        """The dialog asks for a message; it is not sent yet."""
        (requested,) = self.decided(
            cause, dialog.ReplyRequested(channel="twilio", client_id=self.client, text=text, reply_to={})
        )
        return requested

    def ordered(self, *, tax_inclusive: bool, invoice_number: int = 1) -> str:
        """The client orders, billing confirms and invoices; returns the order's id."""
        order_id = derive_id("order", self.conversation, len(self.placed))
        asked = self.said("1")
        order = dialog.OrderPlaced(
            order_id=order_id,
            order_number="7QK2-M0XF",
            lines=LINES,
            currency="INR",
            address="",
            phone=self.client,
            discounts=DISCOUNTS,
            tax_inclusive=tax_inclusive,
        )
        (placed,) = self.decided(asked, order)
        created = OrderCreated(
            order_id=order_id,
            order_number=order.order_number,
            project=PROJECT,
            client_id=self.client,
            lines=LINES,
            currency="INR",
            address="",
            phone=self.client,
            discounts=DISCOUNTS,
            tax_inclusive=tax_inclusive,
        )
        self.billed(placed, f"order-{order_id}", created, OrderConfirmed(order_id=order_id))
        self.billed(placed, f"invoice-{invoice_of(order_id)}", issued(order, self.client, invoice_number))
        return order_id

    def billed(self, cause: Envelope, stream: str, *events: Event) -> list[Envelope]:
        """What billing decided."""
        return self.decided(cause, *events, topic=topics.BILLING, stream=stream)

    def of_stream(self, stream: str) -> Envelope:
        """The newest event of a stream."""
        return next(each for _, each in reversed(self.placed) if each.stream == stream)

    def _decide(self, cause: Envelope, event: Event, topic: str, stream: str) -> Envelope:
        version = 1 + sum(each.stream == stream for _, each in self.placed if each.stream_version is not None)
        return self._place(
            topic,
            replace(
                cause,
                id=derive_id(stream, version),
                source=f"/chatledger/{topic.removeprefix('chat.')}",
                stream=stream,
                stream_version=version,
                causation_id=cause.id,
                data=event,
            ),
        )

    def _place(self, topic: str, envelope: Envelope) -> Envelope:
        self.placed.append((topic, envelope))
        return envelope


def invoice_of(order_id: str) -> str:
    """The id of an order's invoice here."""
    return derive_id(order_id, "invoice")


def issued(order: dialog.OrderPlaced, client: str, number: int) -> InvoiceIssued:
    """The invoice of a priced order."""
    come_to = amounts(order.lines, order.discounts, tax_inclusive=order.tax_inclusive)
    return InvoiceIssued(
        invoice_id=invoice_of(order.order_id),
        number=f"INV-2026-{number:06d}",
        order_id=order.order_id,
        project=PROJECT,
        client_id=client,
        lines=order.lines,
        currency=order.currency or "INR",
        total_minor=come_to.total_minor,
        issued_on=date(2026, 3, 2),
        due_on=date(2026, 3, 16),
        order_number=order.order_number,
        tax_inclusive=order.tax_inclusive,
        subtotal_minor=come_to.subtotal_minor,
        discounts=order.discounts,
        discount_minor=come_to.discount_minor,
        taxes=come_to.taxes,
        tax_minor=come_to.tax_minor,
    )


def payments_of(history: StoreHistory, order_id: str, parts: Sequence[int]) -> None:
    """The invoice is paid in these shares, in percent; the last one takes what is left."""
    stream = f"invoice-{invoice_of(order_id)}"
    invoice = history.of_stream(stream)
    assert isinstance(invoice.data, InvoiceIssued)
    total, paid = invoice.data.total_minor, 0
    for number, percent in enumerate(parts):
        amount = total - paid if number == len(parts) - 1 else total * percent // 100
        paid += amount
        payment = PaymentRecorded(
            invoice_id=invoice.data.invoice_id,
            reference=f"UTR-{number}",
            amount_minor=amount,
            method="bank",
            paid_at=START,
        )
        history.billed(history.of_stream(stream), stream, payment)
    history.billed(history.of_stream(stream), stream, InvoicePaid(invoice_id=invoice.data.invoice_id))


def campaign(campaign_id: str, *, kind: CampaignKind = "PROMOTIONAL") -> tuple[str, Envelope]:
    """A campaign as an operator created it: nothing caused it."""
    event_id = derive_id("campaign", campaign_id)
    created = CampaignCreated(
        campaign_id=campaign_id,
        project=PROJECT,
        name="monsoon",
        kind=kind,
        message="Cement is cheaper.",
        audience={"type": "all"},
        content_sid=None,
        rate_per_s=50,
        batch_size=500,
        scheduled_for=None,
    )
    outside = from_outside(
        created,
        id=event_id,
        source="/chatledger/outreach",
        conversation=f"{PROJECT}/campaigns/{campaign_id}",
        time=START,
    )
    return topics.OUTREACH, replace(outside, stream=f"campaign-{campaign_id}", stream_version=1)


def campaign_message(history: StoreHistory, campaign_id: str, *, promotional: bool = True) -> Envelope:
    """One message of a campaign, from the notice to the request."""
    regarding = f"campaign-{campaign_id}"
    notice = history.told(
        inbound.NoticeDue(
            regarding=regarding, purpose="campaign", promotional=promotional, text="Cement is cheaper.", variables={}
        )
    )
    asked = dialog.ReplyRequested(
        channel="twilio",
        client_id=history.client,
        text="Cement is cheaper.",
        reply_to={},
        purpose="campaign",
        regarding=regarding,
        last_message_at=START,
    )
    decided = dialog.NoticeDecided(regarding=regarding, purpose="campaign", withheld=None)
    _, requested = history.decided(notice, decided, asked)
    return requested
