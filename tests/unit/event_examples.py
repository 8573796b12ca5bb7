"""One plain example of every event class, and the golden files made from them.

`python -m tests.unit.event_examples` writes the golden files that are missing; it never changes one, because a golden
file stands for records that are in somebody's ledger. Each is named with its SHA-256 in golden.sha256, to which lines
are only ever added: `sha256sum -c ../golden.sha256` in the folder checks them too.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from chatledger.events import (
    EVENTS,
    Envelope,
    Event,
    cart,
    deliveries,
    dialog,
    inbound,
    inventory,
    letters,
    orders,
    outreach,
)
from chatledger.events.codec import WireEvent, to_wire
from chatledger.events.ids import derive_id

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_SUMS = Path(__file__).parent / "golden.sha256"
TIME = datetime(2026, 1, 5, 10, 30, 15, 250_000, tzinfo=UTC)
CONVERSATION = "order-form/chat2desk/77"
LINES = (
    orders.OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM-50", unit="bag", tax_bp=1_800),
    orders.OrderLine(name="cup", quantity=1, unit_price_minor=None),
)
DISCOUNTS = (
    orders.Discount(name="monsoon", percent_bp=1_000),
    orders.Discount(name="FIRST", amount_minor=5_000),
)
ORDER_ID = derive_id("order")
INVOICE_ID = derive_id("invoice")
ORDER: dict[str, Any] = {
    "order_id": ORDER_ID,
    "order_number": "7QK2-M0XF",
    "lines": LINES,
    "currency": "INR",
    "address": "12 Baker Street",
    "phone": "+919876543210",
    "discounts": DISCOUNTS,
    "tax_inclusive": True,
}
INVOICE: dict[str, Any] = {
    "invoice_id": INVOICE_ID,
    "number": "INV-2026-000123",
    "order_id": ORDER_ID,
    "order_number": "7QK2-M0XF",
    "lines": LINES[:1],
    "currency": "INR",
    "tax_inclusive": False,
    "subtotal_minor": 500_000,
    "discounts": DISCOUNTS,
    "discount_minor": 55_000,
    "taxes": (orders.Tax(rate_bp=1_800, base_minor=445_000, tax_minor=80_100),),
    "tax_minor": 80_100,
    "total_minor": 525_100,
    "issued_on": date(2026, 1, 5),
    "due_on": date(2026, 1, 19),
}
DOCUMENT = orders.InvoiceDocument(status="partly_paid", paid_minor=25_100, **INVOICE)
DELIVERY: dict[str, Any] = {
    "delivery_id": derive_id("delivery"),
    "channel": "twilio",
    "regarding": f"campaign-{derive_id('campaign')}",
}
REMINDER_ID = derive_id("reminder")
CAMPAIGN_ID = derive_id("campaign")
RAW = {"hook_type": "inbox", "message_id": 970590378, "client": {"phone": "919876543210"}, "attachments": [None, 1.5]}
INBOUND: tuple[Event, ...] = (
    inbound.MessageReceived(
        channel="chat2desk",
        client_id="77",
        provider_message_id="970590378",
        text="Привет, ₹ & \U0001f44d",
        reply_to={"transport": "whatsapp", "channel_id": 12},
        raw=RAW,
        client_name="Asha Rao",
    ),
    inbound.WebhookNoted(
        channel="chat2desk",
        client_id="77",
        provider_message_id="",
        kind="outbox",
        raw=RAW,
    ),
    inbound.TimerFired(timer_id=derive_id("timer"), kind="expiry", due=TIME),
    inbound.DeliveryReported(
        channel="twilio",
        client_id="77",
        provider_message_id="SM0001",
        delivery_id=derive_id("delivery"),
        status="failed",
        error="63016",
        raw={"To": "whatsapp:+919876543210", "ErrorCode": "63016"},
    ),
    inbound.OrderReported(
        order_id=ORDER_ID, order_number="7QK2-M0XF", status="cancelled", reason="client", refused=None
    ),
    inbound.InvoiceReported(because="payment.recorded", invoice=DOCUMENT),
    inbound.NoticeDue(
        regarding=f"campaign-{CAMPAIGN_ID}",
        purpose="campaign",
        promotional=True,
        text="Asha Rao, cement is cheaper this week.",
        content_sid="HX0001",
        variables={"1": "Asha Rao"},
        about="CEM-50",
    ),
)
DIALOG: tuple[Event, ...] = (
    dialog.ConversationStarted(flow="order_form", language="en"),
    dialog.ConversationRestarted(),
    dialog.ConversationExpired(last_message_at=TIME),
    dialog.HandoffRequested(reason="too_many_wrong_answers"),
    dialog.AddressGiven(address="12 Baker Street"),
    dialog.PhoneGiven(phone="+919876543210"),
    dialog.QuantityGiven(quantity=3),
    dialog.AnswerRejected(question="quantity", reason="quantity_range", answer="three"),
    dialog.AnswerWithdrawn(question="phone"),
    dialog.OrderPlaced(**ORDER),
    dialog.OrderCancelled(reason="not_paid", order_id=ORDER_ID),
    dialog.CancellationRequested(order_id=ORDER_ID, order_number="7QK2-M0XF"),
    dialog.OrderNoted(
        order_id=ORDER_ID, order_number="7QK2-M0XF", status="shipped", reason=None, refused="it is shipped"
    ),
    dialog.InvoiceNoted(because="payment.recorded", invoice=DOCUMENT),
    dialog.NoticeDecided(regarding=f"campaign-{CAMPAIGN_ID}", purpose="campaign", withheld="opted_out"),
    dialog.ClientOptedOut(),
    dialog.ClientOptedIn(),
    dialog.MessageThrottled(told=True),
    dialog.MessageDeferred(),
    dialog.TimerRequested(kind="expiry", due=TIME),
    dialog.ReplyRequested(
        channel="chat2desk",
        client_id="77",
        text="What is the delivery address?",
        reply_to={"transport": "whatsapp"},
        purpose="campaign",
        regarding=f"campaign-{CAMPAIGN_ID}",
        last_message_at=TIME,
        template=dialog.MessageTemplate(content_sid="HX0001", variables={"1": "Asha Rao"}),
    ),
)
CART: tuple[Event, ...] = (
    cart.ItemsAdded(items=LINES[:1]),
    cart.ItemsRefused(
        lines=(
            cart.RefusedLine(text="bricks for 12 Baker Street", reason="unknown"),
            cart.RefusedLine(text="cement 12 Baker Street", reason="not_enough", sku="CEM-50", in_stock=40),
        )
    ),
    cart.ChoiceAsked(text="rod to 12 Baker Street", quantity=20, skus=("ROD-12", "ROD-16")),
    cart.ChoiceMade(sku="ROD-12"),
    cart.ItemRemoved(sku="ROD-12"),
    cart.DiscountApplied(code="FIRST"),
    cart.CartKept(),
    cart.CartAbandoned(items=1, total_minor=500_000, currency="INR"),
)
BILLING: tuple[Event, ...] = (
    orders.OrderCreated(project="order-form", client_id="77", **ORDER),
    orders.OrderItemAdded(order_id=ORDER_ID, line=LINES[0]),
    orders.OrderItemRemoved(order_id=ORDER_ID, index=1),
    orders.OrderConfirmed(order_id=ORDER_ID),
    orders.OrderAdvanced(order_id=ORDER_ID, status="processing"),
    orders.CancellationRefused(order_id=ORDER_ID, rule="an order that is shipped cannot be cancelled"),
    orders.InvoiceIssued(project="order-form", client_id="77", **INVOICE),
    orders.PaymentRecorded(invoice_id=INVOICE_ID, reference="UTR-1", amount_minor=525_100, method="bank", paid_at=TIME),
    orders.PaymentRefunded(invoice_id=INVOICE_ID, reference="RF-1", amount_minor=100, reason="paid too much"),
    orders.InvoicePaid(invoice_id=INVOICE_ID),
    orders.InvoiceVoided(invoice_id=INVOICE_ID, credit_note="CN-2026-000001", reason="order_cancelled"),
)
NOTIFY: tuple[Event, ...] = (
    deliveries.MessageSent(provider_message_id="970590379", attempts=1, **DELIVERY),
    deliveries.MessageFailed(reason="HTTP 403", status=None, attempts=3, **DELIVERY),
    deliveries.MessageBlocked(reason="outside the window, and no template", **DELIVERY),
    deliveries.MessageDelivered(provider_message_id="SM0001", **DELIVERY),
    deliveries.MessageRead(provider_message_id="SM0001", **DELIVERY),
    deliveries.MessageUndelivered(provider_message_id="SM0001", reason="63016", **DELIVERY),
)
OUTREACH: tuple[Event, ...] = (
    outreach.ReminderScheduled(
        reminder_id=REMINDER_ID, kind="PAYMENT_DUE", about=INVOICE_ID, text="Asha Rao, it is due", due=TIME
    ),
    outreach.ReminderPostponed(reminder_id=REMINDER_ID, due=TIME),
    outreach.ReminderDue(reminder_id=REMINDER_ID, notice_id=derive_id("notice")),
    outreach.ReminderSent(reminder_id=REMINDER_ID, delivery_id=derive_id("delivery")),
    outreach.ReminderCancelled(reminder_id=REMINDER_ID, reason="paid"),
    outreach.ReminderFailed(reminder_id=REMINDER_ID, reason="no template"),
    outreach.CampaignCreated(
        campaign_id=CAMPAIGN_ID,
        project="order-form",
        name="monsoon",
        kind="PROMOTIONAL",
        message="{{name}}, cement is cheaper this week.",
        audience={"type": "list", "clients": ["+919876543210"]},
        content_sid="HX0001",
        rate_per_s=50,
        batch_size=500,
        scheduled_for=TIME,
    ),
    outreach.CampaignStarted(campaign_id=CAMPAIGN_ID, targeted=1_200),
    outreach.CampaignBatchReleased(campaign_id=CAMPAIGN_ID, batch=2, first=500, count=500),
    outreach.CampaignPaused(campaign_id=CAMPAIGN_ID),
    outreach.CampaignResumed(campaign_id=CAMPAIGN_ID),
    outreach.CampaignCompleted(campaign_id=CAMPAIGN_ID),
    outreach.CampaignCancelled(campaign_id=CAMPAIGN_ID),
    outreach.ClientTagged(tags=("builder", "pays on time")),
)
INVENTORY: tuple[Event, ...] = (
    inventory.InventoryUpdated(sku="CEM-50", price_minor=5_200, stock=None, fetched_at=TIME),
    inventory.OrderSynced(order_id=ORDER_ID, reference="4150868000003194003", status="confirmed"),
    inventory.OrderNotSynced(order_id=ORDER_ID, reason="MANDATORY_NOT_FOUND: Account_Name"),
)
LETTERS: tuple[Event, ...] = (
    letters.RecordDeadLettered(
        service="dialog",
        reason="value is not JSON",
        topic="chat.inbound",
        partition=2,
        offset=41,
        key=CONVERSATION,
        headers={"ce_type": "message.received"},
        value_base64="eyJ0ZXh0Ijo=",
    ),
    letters.RecordLost(event_id=ORDER_ID, event_type="reply.requested", known_by="notify"),
)
EXAMPLES: dict[type[Event], Event] = {
    type(example): example for example in (*INBOUND, *DIALOG, *CART, *BILLING, *NOTIFY, *OUTREACH, *INVENTORY, *LETTERS)
}


def example_envelope(event: Event) -> Envelope:
    """Return `event` in an envelope with every part filled."""
    event_id = derive_id("golden", event.type)
    return Envelope(
        id=event_id,
        source="/chatledger/dialog",
        conversation=CONVERSATION,
        time=TIME,
        stream=f"conversation-{CONVERSATION}",
        stream_version=4,
        correlation_id=derive_id("golden", "correlation"),
        causation_id=derive_id("golden", "cause"),
        traceparent=f"00-{event_id.replace('-', '')}-{event_id.replace('-', '')[:16]}-01",
        data=event,
    )


def golden_text(wire: WireEvent) -> bytes:
    """Return a record as a golden file holds it: readable, and whole."""
    record = {
        "key": wire.key.decode(),
        "headers": {name: value.decode() for name, value in wire.headers},
        "value": orjson.loads(wire.value),
    }
    return orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def golden_sums() -> dict[str, str]:
    """Return the SHA-256 of every golden file that there ever was, by its name."""
    lines = GOLDEN_SUMS.read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def write_missing() -> None:
    """Write a golden file for every event type and version that has none, and its sum."""
    known = golden_sums()
    for event_class in EVENTS:
        path = GOLDEN / f"{event_class.type}.v{event_class.version}.json"
        if path.exists() and path.name in known:
            continue
        text = golden_text(to_wire(example_envelope(EXAMPLES[event_class])))
        digest = hashlib.sha256(text).hexdigest()
        if known.get(path.name, digest) != digest:
            raise SystemExit(
                f"{path.name} is to be what {GOLDEN_SUMS.name} says: restore it; if it was never released, remove its"
                " line there"
            )
        if path.name not in known:
            with GOLDEN_SUMS.open("a") as sums:
                sums.write(f"{digest}  {path.name}\n")
        path.write_bytes(text)


if __name__ == "__main__":
    write_missing()
