"""What history.events, messages, response_times and funnel show of a scene whose every message is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from statistics import quantiles
from typing import Any

import pytest

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger.dead_letters import dead_letter
from chatledger.events import Envelope, dialog, orders
from chatledger.events.codec import encode_data, ledger_metadata
from chatledger.events.deliveries import (
    MessageBlocked,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    MessageUndelivered,
)
from chatledger.events.inbound import TimerFired
from tests.replay.store_conversations import CONVERSATIONS as STORE_CONVERSATIONS
from tests.replay.store_conversations import store_history
from tests.services.test_history_sql_orders import of_version_1
from tests.support.history_sql import HistoryDatabase, conversed, history_database, in_stream_of
from tests.support.ledger import Placed, history
from tests.support.store_history import START, StoreHistory, campaign, campaign_message, invoice_of, payments_of
from tests.unit.projects_at_hand import EXAMPLE, STORE

pytestmark = pytest.mark.postgres
FATES: dict[str, tuple[Any, ...]] = {
    "requested": (),
    "sent": (MessageSent,),
    "delivered": (MessageSent, MessageDelivered),
    "read": (MessageSent, MessageDelivered, MessageRead),
    "undelivered": (MessageSent, MessageUndelivered),
    "failed": (MessageFailed,),
    "blocked": (MessageBlocked,),
}
FIELDS: dict[Any, dict[str, Any]] = {
    MessageSent: {"provider_message_id": "SM1", "attempts": 2},
    MessageDelivered: {"provider_message_id": "SM1"},
    MessageRead: {"provider_message_id": "SM1"},
    MessageUndelivered: {"provider_message_id": "SM1", "reason": "63016"},
    MessageFailed: {"reason": "refused", "status": 400, "attempts": 3},
    MessageBlocked: {"reason": "window_closed"},
}
ANSWER_S, DELIVERY_S = (1, 2, 3, 10, 60), 5


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[HistoryDatabase]:
    async with history_database(postgres_url) as opened:
        yield opened


def fated(store: StoreHistory, requested: Envelope, *fate: Any, after_s: float = 1.0) -> None:
    """What became of a message, one step every five seconds after the first."""
    for step, event_class in enumerate(fate):
        event = event_class(delivery_id=requested.id, channel="twilio", **FIELDS[event_class])
        store.decided(requested, event, topic=topics.NOTIFY, stream=f"delivery-{requested.id}")
        topic, envelope = store.placed[-1]
        later = timedelta(seconds=after_s + DELIVERY_S * step)
        store.placed[-1] = (topic, replace(envelope, time=requested.time + later))


def messaged() -> StoreHistory:
    """A client who wrote eight times; each answer had another fate, and the last one became a dead letter."""
    store = StoreHistory()
    for fate in FATES.values():
        fated(store, store.replied(store.said("hi")), *fate)
    dead = store.replied(store.said("hi"))
    record = recorded(dead, topic=topics.DIALOG)
    letter = dead_letter(record, "no such channel", service="notify", incarnation="x", now=START, cause=dead)
    store.placed.append((topics.DEAD, letter))
    return store


def sessions() -> list[tuple[str, Placed]]:
    """Conversations with the example projects that came further or less far, each with another client."""
    said = {
        "all-the-way": (EXAMPLE, ["hi", "Baker Street 221b", "+91 98765 43210", "3", "yes"]),
        "address-only": (EXAMPLE, ["hi", "Baker Street 221b"]),
        "cancelled": (EXAMPLE, ["hi", "12", "Baker Street 221b", "+91 98765 43210", "cancel", "hi"]),
        "handed-off": (EXAMPLE, ["hi", "1", "2", "3", "4", "5"]),
        "looked": (STORE, ["hi"]),
        "chose": (STORE, ["hi", "steel rod x 20"]),
        "in-the-cart": (STORE, ["hi", "Cement x 100"]),
        "ordered-twice": (STORE, ["hi", "Cement x 100", "1", "Cement x 10", "1"]),
    }
    return [
        (client, conversed(project, "chat2desk" if project is EXAMPLE else "twilio", client, list(texts)))
        for client, (project, texts) in said.items()
    ]


def scene() -> Placed:
    """A bit of everything, for the examples of the document."""
    store = messaged()
    order_id = store.ordered(tax_inclusive=True)
    payments_of(store, order_id, [50, 50])
    store.ordered(tax_inclusive=False, invoice_number=2)
    fated(store, campaign_message(store, "c1"), MessageSent, MessageDelivered)
    left = [
        (topic, in_stream_of(each, "store/twilio/left", number=number, version=each.stream_version))
        for number, (topic, each) in enumerate(store_history(STORE_CONVERSATIONS["store-cart-left"]))
    ]
    talked = [each for _, placed in sessions() for each in placed]
    return [*history("77"), *store.placed, campaign("c1"), *left, *talked]


async def test_events_are_flat(database: HistoryDatabase) -> None:
    store = StoreHistory()
    store.replied(store.said("hi"))
    placed = [*store.placed, campaign("c1")]
    events = await database.record(placed)
    rows = await database.ask("SELECT * FROM history.events ORDER BY position")
    for row, event in zip(rows, events, strict=True):
        envelope = event.envelope
        kept = ledger_metadata(envelope)
        is_clients = envelope.conversation.startswith("store/twilio/")
        assert (row["position"], str(row["id"]), row["stream"]) == (event.position, envelope.id, envelope.stream)
        assert (row["version"], row["type"], row["project"]) == (envelope.stream_version, envelope.data.type, "store")
        assert (row["channel"], row["client_id"]) == (("twilio", store.client) if is_clients else (None, None))
        assert row["conversation"] == (envelope.conversation if is_clients else None)
        assert (row["subject"], row["source"]) == (envelope.conversation, envelope.source)
        assert (row["occurred_at"], row["recorded_at"]) == (envelope.time, event.recorded_at)
        assert (str(row["correlation_id"]), row["traceparent"]) == (envelope.correlation_id, envelope.traceparent)
        assert row["causation_id"] == envelope.causation_id or str(row["causation_id"]) == envelope.causation_id
        assert row["schema_version"] == kept["schemaversion"]
        assert row["data"] == database.json(encode_data(envelope.data))
        assert (row["topic"], row["partition"], row["source_offset"]) == (event.topic, 0, event.source_offset)


async def test_what_is_no_uuid_or_number_breaks_no_query(database: HistoryDatabase) -> None:
    odd = replace(messaged().placed[0][1], causation_id="not a uuid", correlation_id="nor this", conversation="x")
    await database.record([(topics.INBOUND, odd)])
    (row,) = await database.ask("SELECT * FROM history.events")
    assert (row["causation_id"], row["correlation_id"], row["conversation"], row["project"]) == (None, None, None, "x")
    values = "('7'), ('7.5'), ('1e30'), ('\"7\"'), ('null'), ('9223372036854775807'), ('-9223372036854775808')"
    rows = await database.ask(f"SELECT history.as_integer(value::jsonb) AS n FROM (VALUES {values}) AS v (value)")
    assert [row["n"] for row in rows] == [7, None, None, None, None, 2**63 - 1, -(2**63)]


async def test_every_message_is_there_with_what_became_of_it(database: HistoryDatabase) -> None:
    store = messaged()
    await database.record(store.placed)
    rows = await database.ask("SELECT * FROM history.messages ORDER BY position")
    ins, outs = rows[::2], rows[1::2]
    assert {row["direction"] for row in ins} == {"in"}
    assert {(row["text"], row["status"], row["purpose"], row["channel"]) for row in ins} == {
        ("hi", "received", None, "twilio")
    }
    assert [row["status"] for row in outs] == [*FATES, "dead"]
    assert {(row["direction"], row["purpose"], row["text"], row["project"]) for row in outs} == {
        ("out", "reply", "Hello", "store")
    }
    assert [row["cause_id"] for row in outs] == [row["id"] for row in ins]
    assert {row["conversation"] for row in rows} == {store.conversation}
    by_status = {row["status"]: row for row in outs}
    assert {status: row["reason"] for status, row in by_status.items() if row["reason"]} == {
        "undelivered": "63016",
        "failed": "refused",
        "blocked": "window_closed",
        "dead": "no such channel",
    }
    assert {status: row["attempts"] for status, row in by_status.items()} == {
        **dict.fromkeys(("sent", "delivered", "read", "undelivered"), 2),
        **dict.fromkeys(("requested", "blocked", "dead")),
        "failed": 3,
    }
    read = by_status["read"]
    assert (read["sent_at"], read["delivered_at"], read["read_at"]) == tuple(
        read["occurred_at"] + timedelta(seconds=seconds) for seconds in (1, 6, 11)
    )
    times = {status: {name for name in row if name.endswith("_at") and row[name]} for status, row in by_status.items()}
    own = {"occurred_at", "recorded_at"}
    assert times["requested"] == times["dead"] == own
    assert times["failed"] - own == {"failed_at"}
    assert times["blocked"] - own == {"blocked_at"}
    assert times["undelivered"] - own == {"sent_at", "undelivered_at"}
    assert await database.ask("SELECT * FROM history.messages_of(%s) ORDER BY position", store.conversation) == rows
    assert await database.ask("SELECT * FROM history.messages_of('store/twilio/nobody')") == []


async def test_what_was_said_unasked_has_its_purpose_and_its_stream(database: HistoryDatabase) -> None:
    store = StoreHistory()
    campaign_message(store, "c1")
    store.replied(store.told(TimerFired(timer_id="timer", kind="cart", due=START)))
    await database.record(store.placed)
    row, _ = await database.ask("SELECT * FROM history.messages ORDER BY position")
    assert (row["direction"], row["purpose"], row["regarding"]) == ("out", "campaign", "campaign-c1")
    assert await database.ask("SELECT * FROM history.response_times") == []


async def test_replies_of_schema_version_1_have_the_purpose_that_the_upcaster_gives(database: HistoryDatabase) -> None:
    store = StoreHistory()
    fated(store, store.replied(store.said("hi")), MessageSent)
    records = [recorded(each, topic=topic, offset=place) for place, (topic, each) in enumerate(store.placed)]
    await database.record_raw([of_version_1(each) for each in records])
    assert {row["schema_version"] for row in await database.ask("SELECT * FROM history.events")} == {1}
    rows = await database.ask("SELECT direction, purpose, regarding, status FROM history.messages ORDER BY position")
    assert [tuple(row.values()) for row in rows] == [("in", None, None, "received"), ("out", "reply", None, "sent")]
    assert len(await database.ask("SELECT * FROM history.response_times")) == 1


async def test_answers_are_timed_from_the_message_to_the_device(database: HistoryDatabase) -> None:
    store = StoreHistory()
    for seconds in ANSWER_S:
        fated(store, store.replied(store.said("hi")), MessageSent, MessageDelivered, after_s=seconds)
    store.replied(store.said("hi"))
    events = await database.record(store.placed)
    at = {event.envelope.id: event.recorded_at for event in events}
    rows = await database.ask("SELECT * FROM history.response_times ORDER BY position")
    assert [row["answer_ms"] for row in rows] == [*(1_000.0 * seconds for seconds in ANSWER_S), None]
    assert [row["delivery_ms"] for row in rows] == [*[1_000.0 * DELIVERY_S] * len(ANSWER_S), None]
    assert [row["total_ms"] for row in rows[:-1]] == [1_000.0 * (seconds + DELIVERY_S) for seconds in ANSWER_S]
    for row in rows:
        decided = at[str(row["reply_id"])] - at[str(row["message_id"])]
        assert row["decide_ms"] == pytest.approx(decided.total_seconds() * 1_000)
        assert row["requested_at"] == at[str(row["reply_id"])]
    (hour,) = await database.ask("SELECT * FROM history.response_times_by_hour")
    percentiles = quantiles([1_000.0 * seconds for seconds in ANSWER_S], n=100, method="inclusive")
    assert (hour["project"], hour["hour"], hour["replies"], hour["sent"]) == ("store", START, 6, 5)
    assert [hour[f"answer_ms_p{share}"] for share in (50, 95, 99)] == pytest.approx(
        [percentiles[share - 1] for share in (50, 95, 99)]
    )
    assert (hour["answer_ms_max"], hour["delivery_ms_p95"]) == (60_000.0, 5_000.0)


async def test_the_funnel_counts_sessions_and_their_orders(database: HistoryDatabase) -> None:
    placed_orders: list[tuple[Envelope, dialog.OrderPlaced]] = []
    for _, placed in sessions():
        await database.record(placed, at_once=20)
        placed_orders += [(each, each.data) for _, each in placed if isinstance(each.data, dialog.OrderPlaced)]
    # Of the three orders two are invoiced; one of them is paid, and the other cancelled.
    for number, (cause, order) in enumerate(placed_orders[:2]):
        await database.record(billed(cause, order, number, paid=number == 0), at_once=20)
    rows = await database.ask("SELECT * FROM history.funnel ORDER BY project")
    form, store = ({name: value for name, value in row.items() if value != 0} for row in rows)
    day = START.date()
    assert form == {"project": "order-form", "flow": "order_form", "day": day} | counts(
        "started 5, clients 4, address_given 3, phone_given 2, quantity_given 1, answer_refused 2,"
        "confirmation_asked 1, ordered 1, cancelled 1, handed_off 1, orders 1, orders_confirmed 1,"
        "orders_invoiced 1, orders_paid 1"
    )
    assert store == {"project": "store", "flow": "store", "day": day} | counts(
        "started 5, clients 4, cart_filled 3, choice_asked 1, confirmation_asked 3, ordered 2,"
        "orders 2, orders_confirmed 1, orders_invoiced 1, orders_cancelled 1"
    )


def counts(text: str) -> dict[str, int]:
    """Columns and their numbers, as a list in words."""
    return {name: int(number) for name, number in (each.split() for each in text.split(","))}


def billed(cause: Envelope, order: dialog.OrderPlaced, number: int, *, paid: bool) -> Placed:
    """What billing made of an order; one that is not paid is cancelled."""
    store = StoreHistory()
    created = {name: getattr(order, name) for name in ("order_id", "order_number", "lines", "currency")}
    stream, invoice_id = f"order-{order.order_id}", invoice_of(order.order_id)
    store.billed(
        cause,
        stream,
        orders.OrderCreated(**created, project="x", client_id="x", address="", phone=""),
        orders.OrderConfirmed(order_id=order.order_id),
        *([] if paid else [dialog.OrderCancelled(reason="late", order_id=order.order_id)]),
    )
    issued = orders.InvoiceIssued(
        invoice_id=invoice_id,
        number=f"INV-{number}",
        order_id=order.order_id,
        project="x",
        client_id="x",
        lines=order.lines,
        currency="INR",
        total_minor=1,
        issued_on=START.date(),
        due_on=START.date(),
    )
    settled = [orders.InvoicePaid(invoice_id=invoice_id)] if paid else []
    store.billed(cause, f"invoice-{invoice_id}", issued, *settled)
    return store.placed


async def test_a_session_counts_for_the_day_on_which_it_began(database: HistoryDatabase) -> None:
    steps = ["hi", "Baker Street 221b", "+91 98765 43210", "3", "yes", "hi"]
    await database.record(conversed(EXAMPLE, "chat2desk", "slow", steps, every=timedelta(hours=5)), at_once=20)
    rows = await database.ask("SELECT day, started, ordered FROM history.funnel ORDER BY day")
    assert [tuple(row.values()) for row in rows] == [
        (START.date(), 1, 1),
        (START.date() + timedelta(days=1), 1, 0),
    ]


def test_the_scene_has_every_fate_once() -> None:
    types = Counter(each.data.type for _, each in messaged().placed)
    assert types["reply.requested"] == len(FATES) + 1
