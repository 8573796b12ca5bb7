"""One outreach worker in this process, between a broker in memory and a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any, TypeVar

import yaml

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.memory import MemoryBroker, MemoryPublisher, MemorySubscription
from chatledger.adapters.postgres import open_pool
from chatledger.events import cart, orders
from chatledger.events.base import Event
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.envelope import Envelope, conversation_id
from chatledger.events.ids import derive_id
from chatledger.ports import Clock, Publisher
from chatledger.projects import ChannelSettings, Outreach, Product, Project, Store
from chatledger_outreach.app import OutreachService, build
from chatledger_outreach.assembly import set_up_database
from chatledger_outreach.handlers import TOPICS
from chatledger_outreach.jobs import with_search_path

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
"""Half past five in the afternoon in India: not in the quiet hours."""
PHONE = "+919900000001"
CLIENT = conversation_id("store", "twilio", PHONE)
DEADLINE_S = 20.0

TEXTS = yaml.safe_load(files("chatledger.texts").joinpath("reminders.yaml").read_text("utf-8"))["texts"]
TERMS = Outreach(time_zone="Asia/Kolkata", quiet_from=21, quiet_until=8)
STORE = Project(
    name="store",
    flow="store",
    languages=("en", "ru"),
    region="IN",
    channels={"twilio": ChannelSettings(default=True)},
    texts=TEXTS,
    words={"en": {}, "ru": {}},
    store=Store(currency="INR", catalogue=(Product(sku="CEM", name="Cement", unit="bag", price_minor=5_000, stock=0),)),
    outreach=TERMS,
)
FORM = replace(STORE, name="order-form", flow="order_form", store=None, outreach=None)
"""A project that reminds nobody."""


def with_terms(**changes: Any) -> Mapping[str, Project]:
    """The projects, with other terms for reminders."""
    return {"store": replace(STORE, outreach=replace(TERMS, **changes)), "order-form": FORM}


PROJECTS = with_terms()


def told(
    event: Event, *, time: datetime = NOW, key: str = CLIENT, stream: str | None = None, number: int = 1
) -> Envelope:
    """An event as another service publishes it. Two with the same stream, type and number are the same event."""
    stream = stream or f"conversation-{key}"
    cause = derive_id("cause", stream, event.type, number)
    return Envelope(
        id=derive_id("test", stream, event.type, number),
        source="/test",
        conversation=key,
        time=time,
        stream=stream,
        stream_version=number,
        correlation_id=cause,
        causation_id=cause,
        traceparent=None,
        data=event,
    )


def invoice(
    *, due_on: date, id: str = "inv-1", time: datetime = NOW, key: str = CLIENT, currency: str = "INR"
) -> Envelope:
    """An invoice over ₹5,000 was issued."""
    line = orders.OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM")
    issued = orders.InvoiceIssued(
        invoice_id=id,
        number="INV-2026-000001",
        order_id="ord-1",
        project=key.split("/")[0],
        client_id=key.split("/", 2)[2],
        lines=(line,),
        currency=currency,
        total_minor=500_000,
        issued_on=time.date(),
        due_on=due_on,
    )
    return told(issued, time=time, key=key, stream=f"invoice-{id}")


def order(*, id: str = "ord-1", time: datetime = NOW, key: str = CLIENT, quantity: int = 100) -> Envelope:
    """An order of cement at ₹50 a bag came to billing."""
    created = orders.OrderCreated(
        order_id=id,
        order_number=f"N-{id}",
        project=key.split("/")[0],
        client_id=key.split("/", 2)[2],
        lines=(orders.OrderLine(name="Cement", quantity=quantity, unit_price_minor=5_000, sku="CEM"),),
        currency="INR",
        address="",
        phone=PHONE,
    )
    return told(created, time=time, key=key, stream=f"order-{id}")


def abandoned(*, time: datetime = NOW, number: int = 1) -> Envelope:
    """A cart of two products was left for an hour."""
    return told(cart.CartAbandoned(items=2, total_minor=500_000, currency="INR"), time=time, number=number)


Known = TypeVar("Known", bound=Event)


class Line:
    """The broker, and what the test puts on it and finds there."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def tell(self, topic: str, *envelopes: Envelope) -> None:
        """Publish events as another service."""
        for envelope in envelopes:
            record = to_wire(envelope)
            self.broker.append(topic, record.key, record.value, record.headers)

    def on(self, topic: str, event_class: type[Event] | None = None) -> list[Envelope]:
        """What is on a topic, each event as often as it was published."""
        found = [from_wire(record.headers, record.value) for record in self.broker.all_records(topic)]
        return [each for each in found if event_class is None or isinstance(each.data, event_class)]

    def data(self, topic: str, event_class: type[Known]) -> list[Known]:
        """The events of one class on a topic, without their envelopes."""
        return [each.data for each in self.on(topic, event_class) if isinstance(each.data, event_class)]


@asynccontextmanager
async def _running(
    database: str,
    line: Line,
    clock: Clock | None,
    projects: Mapping[str, Project],
    publisher: Publisher | None,
    incarnation: str = "test",
) -> AsyncIterator[tuple[OutreachService, asyncio.Event, asyncio.Task[None]]]:
    await set_up_database(database)
    pool = await open_pool(with_search_path(database), connections_max=10)
    stop = asyncio.Event()
    try:
        service = await build(
            pool=pool,
            database_url=database,
            publisher=publisher or MemoryPublisher(broker=line.broker),
            projects=projects,
            incarnation=incarnation,
            clock=clock or ManualClock(NOW),
            concurrency=2,
        )
        subscription = MemorySubscription(line.broker, topics=TOPICS, positions=service.positions)
        yield service, stop, asyncio.create_task(service.run(subscription, stop))
    finally:
        await pool.close()


@asynccontextmanager
async def worker(
    database: str,
    line: Line,
    *,
    clock: Clock | None = None,
    projects: Mapping[str, Project] = PROJECTS,
    publisher: Publisher | None = None,
    incarnation: str = "test",
) -> AsyncIterator[OutreachService]:
    """A running worker; drained at the end, as after SIGTERM."""
    async with _running(database, line, clock, projects, publisher, incarnation) as (service, stop, running):
        try:
            yield service
        finally:
            stop.set()
            await running


async def run_until_it_dies(database: str, line: Line, *, publisher: Publisher) -> None:
    """Run a worker that nobody stops. Raises what it ends with."""
    async with _running(database, line, None, PROJECTS, publisher) as (_, _, running):
        async with asyncio.timeout(DEADLINE_S):
            await running


def pass_time(service: OutreachService, clock: ManualClock, by: timedelta) -> None:
    """Move the clock, and let the service look at what is due by now."""
    clock.advance(by)
    service.sweep.wake()


async def eventually(met: Callable[[], Any], what: str) -> None:
    """Wait until `met()` is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not met():  # noqa: ASYNC110  # what is waited for happens in several tasks and in Postgres
            await asyncio.sleep(0.01)
    assert met(), what


async def settled(service: OutreachService, met: Callable[[], Awaitable[bool]], what: str) -> None:
    """The same for what only a query tells."""
    async with asyncio.timeout(DEADLINE_S):
        while not await met():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)
    assert await met(), what


async def rows(service: OutreachService, statement: str) -> list[Any]:
    """The rows of a query."""
    async with service.outreach.pool.connection() as connection:
        return await (await connection.execute(statement.encode())).fetchall()


async def handled(service: OutreachService, line: Line) -> None:
    """Wait until everything on the broker is handled, and its positions are saved."""

    async def all_saved() -> bool:
        saved = {(topic, number): offset for topic, number, offset in await rows(service, _POSITIONS)}
        return all(
            saved.get((record.topic, record.partition), 0) > record.offset
            for topic in TOPICS
            for record in line.broker.all_records(topic)
        )

    await settled(service, all_saved, "everything is handled")


_POSITIONS = "SELECT topic, partition, next_offset FROM outreach.positions"
