"""The dialog worker sells at the prices and from the stock that chat.inventory tells, on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.events import cart, inbound
from chatledger.events.codec import from_wire
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inventory import InventoryUpdated, OrderSynced
from chatledger.inventory import IN_FORCE_AFTER, LiveProjects
from chatledger.project_files import load_projects
from chatledger_dialog.inventory import InventoryReader
from tests.support.dialog import PROJECTS, START, DialogProcess, read_until, send

CLIENT = "+919900000001"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the store, which has a CRM here."""
    document = yaml.safe_load((PROJECTS / "store.yaml").read_text("utf-8"))
    folder = tmp_path / "projects"
    folder.mkdir()
    (folder / "store.yaml").write_text(yaml.safe_dump({**document, "crm": {"kind": "zoho"}}), "utf-8")
    return folder


@pytest.fixture
async def worker(broker: EmbeddedBroker, tmp_path: Path, folder: Path) -> AsyncIterator[DialogProcess]:
    process = DialogProcess(
        broker.bootstrap_servers,
        tmp_path,
        projects=folder,
        incarnation=broker.incarnation,
        session_timeout_s="6",
        heartbeat_s="1",
    )
    yield process
    process.kill()


def updated(sku: str, price_minor: int | None, stock: int | None, at: datetime, *, version: int = 1) -> Envelope:
    stream = f"inventory-store-{sku}"
    return Envelope(
        id=derive_id(stream, version),
        source="/chatledger/crm",
        conversation=f"store/inventory/{sku}",
        time=at,
        stream=stream,
        stream_version=version,
        correlation_id=derive_id(stream, version),
        causation_id=None,
        traceparent=None,
        data=InventoryUpdated(sku=sku, price_minor=price_minor, stock=stock, fetched_at=at),
    )


def written(text: str, number: int, at: datetime) -> Envelope:
    message = inbound.MessageReceived(
        channel="twilio", client_id=CLIENT, provider_message_id=f"SM{number}", text=text, reply_to={}, raw={}
    )
    return from_outside(
        message,
        id=derive_id("written", number),
        source="/chatledger/ingress",
        conversation=conversation_id("store", "twilio", CLIENT),
        time=at,
    )


async def tell(broker: EmbeddedBroker, envelopes: Sequence[Envelope]) -> None:
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.INVENTORY, envelopes)
    finally:
        await producer.stop()


async def decided(broker: EmbeddedBroker, type_: type, *, times: int = 1) -> list[Any]:
    """The decisions of one kind, once there are so many."""
    least = times
    async with asyncio.timeout(40):
        while True:
            records = await read_until(broker.bootstrap_servers, topics.DIALOG, least)
            found = [from_wire(record.headers, record.value).data for record in records]
            if sum(isinstance(each, type_) for each in found) >= times:
                return [each for each in found if isinstance(each, type_)]
            least = len(records) + 1


@pytest.mark.slow
async def test_what_was_told_before_the_start_and_after_it_counts(broker, worker):
    hour = timedelta(hours=1)
    foreign = replace(
        updated("CEM-50", 1, 1, START),
        data=OrderSynced(order_id="1", reference="2", status="draft"),
        stream="crm-order-1",
    )
    await tell(broker, [updated("CEM-50", 5_250, 40, START - hour), foreign])
    await send(broker.bootstrap_servers, [written("CEM-50 x 10", 1, START)])
    worker.start()
    (first,) = await decided(broker, cart.ItemsAdded)
    assert [(line.sku, line.unit_price_minor) for line in first.items] == [("CEM-50", 5_250)]

    await tell(broker, [updated("CEM-50", None, 2, START + hour, version=2)])
    # Another topic is read beside the messages: what says that it was read is a message that it decides.
    for number in range(2, 28):
        await send(broker.bootstrap_servers, [written("CEM-50 x 10", number, START + 3 * hour)])
        refused = [
            from_wire(record.headers, record.value).data
            for record in await read_until(broker.bootstrap_servers, topics.DIALOG, 1)
        ]
        if any(isinstance(each, cart.ItemsRefused) for each in refused):
            break
        await asyncio.sleep(0.3)
    refusals = await decided(broker, cart.ItemsRefused)
    assert (refusals[0].lines[0].sku, refusals[0].lines[0].in_stock) == ("CEM-50", 2)
    assert await worker.drain() == 0
    assert '"products":1' in worker.log


async def test_a_message_meets_the_inventory_of_its_own_time(broker, worker):
    """Read again, by whoever takes over, it is decided alike."""
    later, second = START + timedelta(hours=1), timedelta(seconds=1)
    await tell(broker, [updated("CEM-50", 5_250, 40, START), updated("CEM-50", 9_900, 40, later, version=2)])
    await send(
        broker.bootstrap_servers,
        [
            written("CEM-50 x 1", 1, START + IN_FORCE_AFTER - second),
            written("CEM-50 x 1", 2, START + IN_FORCE_AFTER + second),
            written("CEM-50 x 1", 3, START + timedelta(hours=2)),
        ],
    )
    worker.start()
    added = await decided(broker, cart.ItemsAdded, times=3)
    assert [each.items[0].unit_price_minor for each in added] == [5_000, 5_250, 9_900]
    assert await worker.drain() == 0


async def test_without_a_crm_nothing_is_read(broker, tmp_path):
    process = DialogProcess(broker.bootstrap_servers, tmp_path, incarnation=broker.incarnation).start()
    try:
        await process.logged("dialog.ready")
        assert "inventory.read" not in process.log
        assert await process.drain() == 0
    finally:
        process.kill()


async def test_a_broker_that_is_slow_holds_the_start_up_for_a_limited_time(broker, folder, capsys):
    await tell(broker, [updated("CEM-50", 5_250, 40, START)])
    live = LiveProjects(load_projects(folder))
    reader = InventoryReader(broker.bootstrap_servers, live, catch_up_max_s=0)
    try:
        await reader.open()
        assert "inventory.not_read_in_time" in capsys.readouterr().out
        following = asyncio.create_task(reader.follow())
        async with asyncio.timeout(20):
            while not live.products:  # noqa: ASYNC110  # nothing tells that a topic was read
                await asyncio.sleep(0.05)
        following.cancel()
    finally:
        await reader.stop()
    assert live.products == 1
