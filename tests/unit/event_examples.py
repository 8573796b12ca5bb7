"""One plain example of every event class, and the golden files made from them.

`python -m tests.unit.event_examples` writes the golden files that are missing; it never changes one, because a golden
file stands for records that are in somebody's ledger.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from chatledger.events import EVENTS, Envelope, Event, deliveries, dialog, inbound, letters, orders
from chatledger.events.codec import WireEvent, to_wire
from chatledger.events.ids import derive_id

GOLDEN = Path(__file__).parent / "golden"
TIME = datetime(2026, 1, 5, 10, 30, 15, 250_000, tzinfo=UTC)
CONVERSATION = "order-form/chat2desk/77"
LINES = (
    orders.OrderLine(name="drinking water, 19 l", quantity=3, unit_price_minor=25_000),
    orders.OrderLine(name="cup", quantity=1, unit_price_minor=None),
)
ORDER: dict[str, Any] = {
    "order_id": derive_id("order"),
    "lines": LINES,
    "address": "12 Baker Street",
    "phone": "+919876543210",
}
RAW = {"hook_type": "inbox", "message_id": 970590378, "client": {"phone": "919876543210"}, "attachments": [None, 1.5]}

_EXAMPLES: tuple[Event, ...] = (
    inbound.MessageReceived(
        channel="chat2desk",
        client_id="77",
        provider_message_id="970590378",
        text="Привет, ₹ & \U0001f44d",
        reply_to={"transport": "whatsapp", "channel_id": 12},
        raw=RAW,
    ),
    inbound.WebhookNoted(
        channel="chat2desk",
        client_id="77",
        provider_message_id="",
        kind="outbox",
        raw=RAW,
    ),
    inbound.TimerFired(timer_id=derive_id("timer"), kind="expiry", due=TIME),
    dialog.ConversationStarted(flow="order_form", language="en"),
    dialog.ConversationRestarted(),
    dialog.ConversationExpired(last_message_at=TIME),
    dialog.HandoffRequested(reason="too_many_wrong_answers"),
    dialog.AddressGiven(address="12 Baker Street"),
    dialog.PhoneGiven(phone="+919876543210"),
    dialog.QuantityGiven(quantity=3),
    dialog.AnswerRejected(question="quantity", reason="quantity_range", answer="three"),
    dialog.AnswerWithdrawn(question="phone"),
    dialog.OrderPlaced(order_number="7QK2-M0XF", currency="INR", **ORDER),
    dialog.OrderCancelled(reason="client"),
    dialog.MessageThrottled(told=True),
    dialog.MessageDeferred(),
    dialog.TimerRequested(kind="expiry", due=TIME),
    dialog.ReplyRequested(
        channel="chat2desk",
        client_id="77",
        text="What is the delivery address?",
        reply_to={"transport": "whatsapp"},
    ),
    orders.OrderCreated(
        order_number="7QK2-M0XF",
        project="order-form",
        client_id="77",
        currency="INR",
        **ORDER,
    ),
    orders.OrderConfirmed(order_id=derive_id("order")),
    orders.InvoiceIssued(
        invoice_id=derive_id("invoice"),
        number="2026-00001",
        order_id=derive_id("order"),
        project="order-form",
        client_id="77",
        lines=LINES[:1],
        currency="INR",
        total_minor=75_000,
        issued_on=date(2026, 1, 5),
        due_on=date(2026, 1, 19),
    ),
    deliveries.MessageSent(
        delivery_id=derive_id("delivery"),
        channel="chat2desk",
        provider_message_id="970590379",
        attempts=1,
    ),
    deliveries.MessageFailed(
        delivery_id=derive_id("delivery"),
        channel="chat2desk",
        reason="HTTP 403",
        status=None,
        attempts=3,
    ),
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
)
EXAMPLES: dict[type[Event], Event] = {type(example): example for example in _EXAMPLES}


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


def write_missing() -> None:
    """Write a golden file for every event type and version that has none."""
    for event_class in EVENTS:
        path = GOLDEN / f"{event_class.type}.v{event_class.version}.json"
        if not path.exists():
            path.write_bytes(golden_text(to_wire(example_envelope(EXAMPLES[event_class]))))


if __name__ == "__main__":
    write_missing()
