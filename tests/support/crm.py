"""The crm service's parts between the stand-in for Zoho, a real Postgres and a topic in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx

from chatledger import topics
from chatledger.adapters.clock import ManualClock
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import migrate, open_pool
from chatledger.errors import BrokerUnavailable
from chatledger.events import Envelope, Event
from chatledger.events.ids import order_number
from chatledger.events.inventory import InventoryUpdated
from chatledger.events.orders import OrderConfirmed, OrderCreated, OrderLine
from chatledger.ports import ConsumedRecord
from chatledger.projects import ChannelSettings, Crm, Product, Project, Store
from chatledger_cli.zoho_stand_in import ZohoStandIn
from chatledger_crm.app import CrmService, build
from chatledger_crm.zoho import Addresses, Credentials
from tests.support.store_history import StoreHistory

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
CREDENTIALS = Credentials(client_id="1000.id", client_secret="secret", refresh_token="1000.refresh")
STORE = Store(
    currency="INR",
    catalogue=(
        Product(sku="CEM-50", name="Cement", unit="bag", price_minor=5_000, stock=100),
        Product(sku="ROD-12", name="Steel rod 12mm", unit="piece", price_minor=55_000),
    ),
)
PROJECT = Project(
    name="store",
    flow="store",
    languages=("en",),
    region="IN",
    channels={"twilio": ChannelSettings()},
    texts={"en": {}},
    words={"en": {}},
    store=STORE,
    crm=Crm(kind="zoho", refresh_minutes=15),
)
CEMENT: Mapping[str, Any] = {"Product_Code": "CEM-50", "Unit_Price": "52.50", "Qty_in_Stock": 40}
ROD: Mapping[str, Any] = {"Product_Code": "ROD-12", "Unit_Price": 550, "Qty_in_Stock": 12}


@dataclass(slots=True)
class TopicInMemory:
    """The port Publisher; while `is_away` it acknowledges nothing."""

    published: list[tuple[str, Envelope]] = field(default_factory=list)
    is_away: bool = False

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Keep them."""
        if self.is_away:
            raise BrokerUnavailable("it is away")
        self.published += [(topic, each) for each in envelopes]


@dataclass(slots=True, kw_only=True)
class CrmUnderTest:
    """One worker whose steps a test takes by hand."""

    service: CrmService
    clock: ManualClock
    topic: TopicInMemory
    offsets: Any = field(default_factory=count)

    async def refresh(self, *, after: timedelta = timedelta()) -> None:
        """Time passes, and what is due is fetched."""
        self.clock.advance(after)
        await self.service.refreshing.step()

    async def take_in(self, records: Sequence[ConsumedRecord]) -> None:
        """A batch arrives."""
        async with self.service.pool.connection() as connection:
            await connection.set_autocommit(True)
            await self.service.intake.handle(connection, records)
            await connection.set_autocommit(False)

    async def push(self, *, after: timedelta = timedelta()) -> int:
        """Time passes, and what is due is pushed; return how many tries that were."""
        self.clock.advance(after)
        tries = 0
        while await self.service.pushing.step():
            tries += 1
        return tries

    async def events(self) -> list[Any]:
        """Relay, and return all events that were published since the last time."""
        return [each.data for each in await self.envelopes()]

    async def envelopes(self) -> list[Any]:
        """The same in their envelopes; of any type, so that a test may look into their data."""
        async with self.service.pool.connection() as connection:
            await connection.set_autocommit(True)
            while await self.service.relay.step(connection):
                pass
            await connection.set_autocommit(False)
        published, self.topic.published[:] = list(self.topic.published), []
        assert {topic for topic, _ in published} <= {topics.INVENTORY}
        return [each for _, each in published]

    async def updates(self) -> dict[str, tuple[int | None, int | None]]:
        """What was published of products: price and stock by sku."""
        events = await self.events()
        return {each.sku: (each.price_minor, each.stock) for each in events if isinstance(each, InventoryUpdated)}

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        async with self.service.pool.connection() as connection:
            return await (await connection.execute(statement.encode())).fetchall()

    def records(self, envelopes: Sequence[Envelope]) -> list[ConsumedRecord]:
        """The records of chat.billing that carry these, with the next offsets."""
        return [recorded(each, topic=topics.BILLING, offset=next(self.offsets)) for each in envelopes]


@asynccontextmanager
async def crm(
    database: str,
    zoho: ZohoStandIn,
    *,
    incarnation: str = "tests",
    clock: ManualClock | None = None,
    credentials: Credentials = CREDENTIALS,
    timeout_s: float = 5.0,
) -> AsyncIterator[CrmUnderTest]:
    """A worker, put together and not running; its first refresh is due."""
    await migrate(database, schema="crm", package="chatledger_crm")
    pool = await open_pool(database, connections_max=6)
    topic, clock = TopicInMemory(), clock or ManualClock(START)
    async with httpx.AsyncClient(trust_env=False) as client:
        service = build(
            pool=pool,
            database_url=database,
            publisher=topic,
            client=client,
            addresses=Addresses(api=zoho.url, accounts=zoho.url),
            credentials={PROJECT.name: credentials},
            projects={PROJECT.name: PROJECT},
            incarnation=incarnation,
            clock=clock,
            timeout_s=timeout_s,
        )
        await service.refreshing.meet(incarnation)
        try:
            yield CrmUnderTest(service=service, clock=clock, topic=topic)
        finally:
            await pool.close()


def billed(*more: Event, client: str = "+919900000001", lines: tuple[OrderLine, ...] | None = None) -> list[Envelope]:
    """What billing decided about one order: created, confirmed, and `more`."""
    history = StoreHistory(client=client)
    order_id = history.ordered(tax_inclusive=True)
    kept = [each for _, each in history.placed if isinstance(each.data, OrderCreated | OrderConfirmed)]
    ours = lines or (
        OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM-50", unit="bag"),
        OrderLine(name="Steel rod 12mm", quantity=2, unit_price_minor=55_025, sku="ROD-12", unit="piece"),
    )
    first = kept[0].data
    assert isinstance(first, OrderCreated)
    kept[0] = replace(kept[0], data=replace(first, lines=ours, order_number=order_number(order_id)))
    for event in more:
        changed = replace(event, order_id=order_id)  # type: ignore[call-arg]  # every event of an order has one
        kept += history.billed(kept[-1], f"order-{order_id}", changed)
    return kept


def order_of(placed: Sequence[Envelope]) -> OrderCreated:
    """The order that these events begin with."""
    order = placed[0].data
    assert isinstance(order, OrderCreated)
    return order
