"""Histories of two flows, mixed as topics mix them, and what a plain fold of everything so far says was known then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from hypothesis import strategies as st

from chatledger.adapters.ledger_reader import ROLE
from chatledger.adapters.postgres import open_pool
from chatledger.conversation import encode_state, initial
from chatledger.events import dialog
from chatledger.events.ids import derive_id, order_number
from chatledger.events.inbound import OrderReported
from chatledger.events.orders import (
    InvoiceVoided,
    OrderAdvanced,
    OrderConfirmed,
    OrderCreated,
    PaymentRefunded,
)
from chatledger.ports import LedgerEvent
from chatledger.replay import fold
from chatledger_billing import invoices, orders
from chatledger_billing.projection import invoice_row, order_row
from chatledger_billing.snapshots import Snapshot
from chatledger_cli.kinds import KINDS
from chatledger_ledger.time_travel import FindNumber, TimeTravel
from tests.support.ledger import Placed
from tests.support.store_history import DISCOUNTS, LINES, PROJECT, StoreHistory, invoice_of, issued, payments_of

FATES = ("nothing", "paid", "refunded", "voided", "shipped")


def store_client(client: str, fates: Sequence[str] = FATES) -> StoreHistory:
    """A store's client who orders once for each fate that an order can have."""
    made = StoreHistory(client=client)
    asked = made.said("Hi")
    made.decided(asked, dialog.ConversationStarted(flow="store", language="en"))
    made.sent(made.replied(asked))
    for number, fate in enumerate(fates, start=1):
        _FATES[fate](made, ordered(made, number))
    return made


def ordered(made: StoreHistory, number: int) -> str:
    """The client orders, and billing confirms and invoices it; returns the order's id."""
    order_id = derive_id("order", made.conversation, number)
    order = dialog.OrderPlaced(
        order_id=order_id,
        order_number=order_number(order_id),
        lines=LINES,
        currency="INR",
        address="",
        phone=made.client,
        discounts=DISCOUNTS,
        tax_inclusive=number % 2 == 0,
    )
    (placed,) = made.decided(made.said("1"), order)
    created = OrderCreated(
        order_id=order_id,
        order_number=order.order_number,
        project=PROJECT,
        client_id=made.client,
        lines=LINES,
        currency="INR",
        address="",
        phone=made.client,
        discounts=DISCOUNTS,
        tax_inclusive=order.tax_inclusive,
    )
    made.billed(placed, f"order-{order_id}", created, OrderConfirmed(order_id=order_id))
    made.billed(placed, f"invoice-{invoice_of(order_id)}", issued(order, made.client, number))
    return order_id


def in_any_order(histories: Sequence[Placed]) -> st.SearchStrategy[Placed]:
    """Mix histories as the ledger may record them: what one client has on one topic keeps its order, and no more."""
    queues: dict[tuple[int, str], Placed] = {}
    for number, placed in enumerate(histories):
        for topic, envelope in placed:
            queues.setdefault((number, topic), []).append((topic, envelope))
    tickets = [key for key, queue in queues.items() for _ in queue]

    def dealt(order: list[tuple[int, str]]) -> Placed:
        left = {key: iter(queue) for key, queue in queues.items()}
        return [next(left[key]) for key in order]

    return st.permutations(tickets).map(dealt)


@asynccontextmanager
async def time_travel(url: str, numbers: FindNumber | None = None) -> AsyncIterator[TimeTravel]:
    """The past of the ledger in this database, seen with the reader's rights."""
    pool = await open_pool(url, role=ROLE)
    try:
        yield TimeTravel(pool, KINDS, numbers=numbers)
    finally:
        await pool.close()


def conversation_then(events: Iterable[LedgerEvent], conversation: str) -> dict[str, Any]:
    """What the fold of all events so far says of a conversation."""
    states = fold(each.envelope for each in events)
    return dict(orjson.loads(encode_state(states.get(conversation, initial()))))


def billing_then(events: Iterable[LedgerEvent], stream: str) -> dict[str, Any] | None:
    """The read model's row of an order or an invoice, by billing's aggregates alone."""
    mine = [each.envelope for each in events if each.envelope.stream == stream]
    if not mine:
        return None
    evolve: Callable[[Any, Any], Any] = orders.evolve if stream.startswith("order-") else invoices.evolve
    state: Any = None
    for envelope in mine:
        state = evolve(state, envelope.data)
    snapshot = Snapshot(state=state, conversation=mine[0].conversation, began_at=mine[0].time, changed_at=mine[-1].time)
    row = order_row(snapshot, 0) if stream.startswith("order-") else invoice_row(snapshot, 0)
    del row["position"]
    return dict(orjson.loads(orjson.dumps(row, option=orjson.OPT_UTC_Z)))


def client_then(events: Sequence[LedgerEvent], client: str) -> dict[str, Any] | None:
    """Everything of a client, by walking through all events so far."""
    own = [each for each in events if each.envelope.stream.startswith("conversation-")]
    own = [each for each in own if each.envelope.conversation.split("/", 2)[2] == client]
    named = {
        each.envelope.data.order_id
        for each in own
        if isinstance(each.envelope.data, dialog.OrderPlaced | dialog.OrderNoted | OrderReported)
    }
    found: dict[str, Any] = {
        "conversations": {
            each: conversation_then(own, each) for each in {event.envelope.conversation for event in own}
        },
        "orders": {each: billing_then(events, f"order-{each}") for each in named},
        "invoices": {invoice_of(each): billing_then(events, f"invoice-{invoice_of(each)}") for each in named},
    }
    there = {kind: {name: row for name, row in sorted(rows.items()) if row is not None} for kind, rows in found.items()}
    return there if any(there.values()) else None


def _nothing(made: StoreHistory, order_id: str) -> None:
    """The order stays as it is, and the conversation is told."""
    stream = f"order-{order_id}"
    cause = made.of_stream(stream)
    told = made.told(
        OrderReported(order_id=order_id, order_number=order_number(order_id), status="confirmed"), cause=cause
    )
    made.decided(told, dialog.OrderNoted(order_id=order_id, order_number=order_number(order_id), status="confirmed"))


def _paid(made: StoreHistory, order_id: str) -> None:
    payments_of(made, order_id, (40, 60))


def _refunded(made: StoreHistory, order_id: str) -> None:
    payments_of(made, order_id, (100,))
    stream = f"invoice-{invoice_of(order_id)}"
    back = PaymentRefunded(invoice_id=invoice_of(order_id), reference="back", amount_minor=100, reason="broken bag")
    made.billed(made.of_stream(stream), stream, back)


def _voided(made: StoreHistory, order_id: str) -> None:
    order, invoice = f"order-{order_id}", f"invoice-{invoice_of(order_id)}"
    made.billed(made.of_stream(order), order, dialog.OrderCancelled(order_id=order_id, reason="changed"))
    voided = InvoiceVoided(invoice_id=invoice_of(order_id), credit_note="CN-2026-000001", reason="changed")
    made.billed(made.of_stream(order), invoice, voided)


def _shipped(made: StoreHistory, order_id: str) -> None:
    stream = f"order-{order_id}"
    for status in ("processing", "shipped"):
        made.billed(made.of_stream(stream), stream, OrderAdvanced(order_id=order_id, status=status))


_FATES: dict[str, Callable[[StoreHistory, str], None]] = {
    "nothing": _nothing,
    "paid": _paid,
    "refunded": _refunded,
    "voided": _voided,
    "shipped": _shipped,
}
