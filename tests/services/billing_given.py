"""What the tests of billing start from: records as the dialog publishes them, a publisher that remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from chatledger import topics
from chatledger.adapters.clock import ManualClock
from chatledger.errors import BrokerUnavailable
from chatledger.events.base import Event
from chatledger.events.codec import to_wire
from chatledger.events.dialog import CancellationRequested, OrderPlaced
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id, order_number
from chatledger.events.inbound import InvoiceReported, OrderReported
from chatledger.events.letters import RecordDeadLettered
from chatledger.events.orders import OrderLine
from chatledger.flows import Flow
from chatledger.ports import ConsumedRecord
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_billing.app import Billing, build
from chatledger_billing.relay import ReadModelWriter
from chatledger_billing.store import BillingStore
from chatledger_billing.worker import Worker

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
WATER = OrderLine(name="drinking water, 19 l", quantity=3, unit_price_minor=25_000)
TALKATIVE = Flow(
    name="talkative",
    decide=lambda state, cause, project: [],
    texts={},
    words=(),
    react=dict.fromkeys((OrderReported, InvoiceReported), lambda state, cause, project: []),
)
PROJECTS = load_projects(Path(__file__).parents[2] / "projects")


def placed(
    client: int | str = 1, *, lines: Sequence[OrderLine] = (WATER,), currency: str | None = "INR"
) -> OrderPlaced:
    """What a client ordered; its ids come from the client's."""
    order_id = derive_id("order", client)
    return OrderPlaced(
        order_id=order_id,
        order_number=order_number(order_id),
        lines=tuple(lines),
        currency=currency,
        address="Baker Street 221b",
        phone="+919876543210",
    )


def cause(data: Event, client: int | str = 1, *, project: str = "order-form", time: datetime = NOON) -> Envelope:
    """The event as the dialog wraps it."""
    conversation = f"{project}/chat2desk/{client}"
    return Envelope(
        id=derive_id("cause", client, data.type),
        source="/chatledger/dialog",
        conversation=conversation,
        time=time,
        stream=f"conversation-{conversation}",
        stream_version=6,
        correlation_id=derive_id("webhook", client),
        causation_id=derive_id("webhook", client),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        data=data,
    )


def record(envelope: Envelope, offset: int, partition: int = 0) -> ConsumedRecord:
    """The event as it is read from chat.dialog."""
    wire = to_wire(envelope)
    return ConsumedRecord(
        topic=topics.DIALOG, partition=partition, offset=offset, key=wire.key, value=wire.value, headers=wire.headers
    )


def cancellation(client: int | str = 1) -> CancellationRequested:
    """The client's wish that its order be cancelled."""
    order = placed(client)
    return CancellationRequested(order_id=order.order_id, order_number=order.order_number)


def order_records(clients: Sequence[int], partition: int = 0) -> list[ConsumedRecord]:
    """An order of each client, one after the other on one partition."""
    return [record(cause(placed(client), client), offset, partition) for offset, client in enumerate(clients)]


def talkative(name: str = "order-form") -> dict[str, Project]:
    """Projects of which this one's flow wants to be told of orders and invoices: register TALKATIVE in FLOWS."""
    return {**PROJECTS, name: replace(PROJECTS["order-form"], name=name, flow=TALKATIVE.name)}


def unpriced(order: OrderPlaced) -> OrderPlaced:
    """The same order of a project without a price."""
    lines = tuple(replace(line, unit_price_minor=None) for line in order.lines)
    return replace(order, lines=lines, currency=None)


@dataclass
class RememberedPublisher:
    """Keeps what was published; fails where it is told to."""

    published: list[tuple[str, Envelope]] = field(default_factory=list)
    broken: bool = False
    broken_with: type[BrokerUnavailable] = BrokerUnavailable
    refused: int = 0

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        if self.broken:
            self.refused += 1
            raise self.broken_with
        self.published += [(topic, envelope) for envelope in envelopes]

    def on(self, topic: str) -> list[Envelope]:
        """What was published on one topic."""
        return [envelope for each, envelope in self.published if each == topic]

    def letters(self) -> list[RecordDeadLettered]:
        """What was given up."""
        return [each.data for each in self.on(topics.DEAD) if isinstance(each.data, RecordDeadLettered)]


@contextmanager
def billing_on(
    store: BillingStore,
    publisher: RememberedPublisher,
    *,
    incarnation: str = "first",
    projects: Mapping[str, Project] = PROJECTS,
) -> Iterator[Billing]:
    """The service over `store`, which is closed with it."""
    worker = Worker()
    try:
        yield build(
            store=store,
            worker=worker,
            publisher=publisher,
            projects=projects,
            clock=ManualClock(NOON),
            incarnation=incarnation,
        )
    finally:
        worker.close()
        store.close()


@asynccontextmanager
async def writer_on(url: str) -> AsyncIterator[ReadModelWriter]:
    """A writer of the read model, on a connection of its own."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        yield ReadModelWriter(connection)


async def relay_all(billing: Billing, url: str) -> None:
    """Publish everything that is recorded, and lay it down."""
    async with writer_on(url) as writer:
        position, reached = -1, await writer.position()
        while reached != position:
            position, reached = reached, await billing.relay.step(writer, reached)


StoreMaker = Callable[[], BillingStore]
