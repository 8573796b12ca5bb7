"""Histories for the ledger's tests: what customers said, what the flow decided, what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from itertools import count

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import Pool, migrate, open_pool
from chatledger.conversation import initial
from chatledger.events import Envelope, dialog
from chatledger.events.deliveries import MessageSent
from chatledger.events.envelope import caused_by
from chatledger.events.ids import derive_id
from chatledger.events.orders import InvoiceIssued, OrderConfirmed, OrderCreated
from chatledger.flows.pipeline import handle
from chatledger.ports import ConsumedRecord
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from tests.support.dialog import ORDER, message
from tests.unit.projects_at_hand import EXAMPLE

Placed = list[tuple[str, Envelope]]
"""Envelopes, each with the topic that it goes to."""


def conversation_of(client: str) -> str:
    """The id of a client's conversation with the example project."""
    return f"order-form/chat2desk/{client}"


def history(client: str, texts: Sequence[str] = ORDER, *, invoice: int | None = 1) -> Placed:
    """One customer's history on all topics. With `invoice`, an order placed in it is invoiced under that number."""
    state, placed = initial(), Placed()
    for number, text in enumerate(texts):
        cause = message(client, number, text)
        state, decided = handle(state, cause, {EXAMPLE.name: EXAMPLE})
        placed += [(topics.INBOUND, cause), *((topics.DIALOG, each) for each in decided)]
        for each in decided:
            if isinstance(each.data, dialog.ReplyRequested):
                placed.append((topics.NOTIFY, sent(each)))
            if isinstance(each.data, dialog.OrderPlaced) and invoice is not None:
                placed += [(topics.BILLING, made) for made in billed(each, each.data, invoice)]
    return placed


def sent(requested: Envelope) -> Envelope:
    """The event that says that a reply was sent."""
    event = MessageSent(delivery_id=requested.id, channel="chat2desk", provider_message_id="1", attempts=1)
    return caused_by(
        requested, [event], source="/chatledger/notify", stream=f"delivery-{requested.id}", last_version=None
    )[0]


def billed(cause: Envelope, order: dialog.OrderPlaced, number: int) -> list[Envelope]:
    """What billing makes of an order that was placed."""
    client = cause.conversation.rpartition("/")[2]
    created = OrderCreated(
        order_id=order.order_id,
        order_number=order.order_number,
        project=EXAMPLE.name,
        client_id=client,
        lines=order.lines,
        currency=order.currency,
        address=order.address,
        phone=order.phone,
    )
    source, stream = "/chatledger/billing", f"order-{order.order_id}"
    orders = caused_by(
        cause, [created, OrderConfirmed(order_id=order.order_id)], source=source, stream=stream, last_version=0
    )
    invoice_id = derive_id("invoice", order.order_id)
    issued = InvoiceIssued(
        invoice_id=invoice_id,
        number=f"INV-2026-{number:06d}",
        order_id=order.order_id,
        project=EXAMPLE.name,
        client_id=client,
        lines=order.lines,
        currency=order.currency or "INR",
        total_minor=sum(line.quantity * (line.unit_price_minor or 0) for line in order.lines),
        issued_on=date(2026, 3, 2),
        due_on=date(2026, 3, 16),
    )
    invoices = caused_by(orders[1], [issued], source=source, stream=f"invoice-{invoice_id}", last_version=0)
    return [*orders, *invoices]


def as_records(placed: Iterable[tuple[str, Envelope]], *, first_offset: int = 0) -> list[ConsumedRecord]:
    """The records that carry these envelopes, with an offset of its own for each."""
    offsets = count(first_offset)
    return [recorded(envelope, topic=topic, offset=next(offsets)) for topic, envelope in placed]


@asynccontextmanager
async def recorder_pool(url: str, *, connections_max: int = 4) -> AsyncIterator[Pool]:
    """A migrated database, seen with the recorder's rights."""
    await migrate(url, schema="ledger", package="chatledger_ledger")
    pool = await open_pool(url, connections_max=connections_max, role=ROLE)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def open_ledger(url: str, *, incarnation: str = "tests") -> AsyncIterator[PostgresLedger]:
    """The Postgres ledger on an empty database."""
    async with recorder_pool(url) as pool:
        yield PostgresLedger(pool, incarnation=incarnation, clock=SystemClock())
