"""One notify worker in this process, between an embedded broker, a real Postgres and the provider's stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
from aiokafka import AIOKafkaConsumer

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import KafkaPublisher, KafkaSubscription, new_consumer, start_producer
from chatledger.adapters.postgres import migrate, open_pool
from chatledger.channels.base import OutboundSecrets
from chatledger.events.base import Event
from chatledger.events.codec import from_wire
from chatledger.events.dialog import ReplyRequested
from chatledger.events.envelope import Envelope, conversation_id
from chatledger.events.ids import derive_id
from chatledger.ports import Clock
from chatledger.topics import DIALOG
from chatledger_notify.app import NotifyService, build
from chatledger_notify.schedule import RetrySchedule
from chatledger_notify.transport import AiohttpTransport

PROJECT, CHANNEL, TOKEN = "order-form", "chat2desk", "secret"
SOON = RetrySchedule(quick_s=(0.02, 0.03, 0.04), slow_s=(0.1, 0.1))
DEADLINE_S = 20.0


def dialog_event(event: Event, *, number: int, client: str, time: datetime | None = None) -> Envelope:
    """An event as the dialog service publishes it; `number` is its version in the client's stream."""
    conversation = conversation_id(PROJECT, CHANNEL, client)
    return Envelope(
        id=derive_id("test", client, number),
        source="/chatledger/dialog",
        conversation=conversation,
        time=time or datetime.now(UTC),
        stream=f"conversation-{conversation}",
        stream_version=number,
        correlation_id=derive_id("webhook", client, number),
        causation_id=derive_id("webhook", client, number),
        traceparent=None,
        data=event,
    )


def reply(client: str, number: int, text: str | None = None) -> Envelope:
    """A request to send a message; its text is its number unless given."""
    event = ReplyRequested(channel=CHANNEL, client_id=client, text=text or str(number), reply_to={})
    return dialog_event(event, number=number, client=client)


async def eventually(met: Callable[[], Any], what: str) -> None:
    """Wait until `met()` is true; it is looked at every 10 ms until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not met():  # noqa: ASYNC110  # what is waited for is in another process or thread
            await asyncio.sleep(0.01)
    assert met(), what


@dataclass(kw_only=True)
class Reading:
    """What a topic holds, read while the test runs."""

    envelopes: list[Envelope] = field(default_factory=list)


@asynccontextmanager
async def reading(bootstrap_servers: str, topic: str) -> AsyncIterator[Reading]:
    """Collect a topic's events from its beginning."""
    found = Reading()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()

    async def collect() -> None:
        async for record in consumer:
            found.envelopes.append(from_wire(record.headers, record.value))

    task = asyncio.create_task(collect())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
        await consumer.stop()


@asynccontextmanager
async def publishing(bootstrap_servers: str) -> AsyncIterator[KafkaPublisher]:
    """A publisher for the test's own events."""
    producer = await start_producer(bootstrap_servers)
    try:
        yield KafkaPublisher(producer)
    finally:
        await producer.stop()


@asynccontextmanager
async def worker(
    *,
    bootstrap_servers: str,
    database: str,
    provider_url: str,
    clock: Clock | None = None,
    schedule: RetrySchedule = SOON,
    timeout_s: float = 10.0,
    incarnation: str = "test",
    group: str = "chatledger-notify",
) -> AsyncIterator[NotifyService]:
    """A running worker; drained at the end, as after SIGTERM."""
    await migrate(database, schema="notify", package="chatledger_notify")
    pool = await open_pool(database, connections_max=6)
    producer = await start_producer(bootstrap_servers)
    consumer = new_consumer(bootstrap_servers, group=group)
    stop = asyncio.Event()
    async with httpx.AsyncClient(
        transport=AiohttpTransport(connections_max=64, timeout_s=timeout_s), trust_env=False
    ) as client:
        service = build(
            pool=pool,
            database_url=database,
            publisher=KafkaPublisher(producer),
            client=client,
            accounts={(PROJECT, CHANNEL): OutboundSecrets(api_url=provider_url, token=TOKEN)},
            incarnation=incarnation,
            clock=clock or SystemClock(),
            schedule=schedule,
        )
        subscription = KafkaSubscription(consumer, topics=[DIALOG], positions=service.positions)
        await consumer.start()
        running = asyncio.create_task(service.run(subscription, stop))
        try:
            yield service
        finally:
            stop.set()
            await running
            await consumer.stop()
            await producer.stop()
            await pool.close()


def query(database: str, statement: str) -> Sequence[Any]:
    """The rows of a query, on a connection of its own."""
    with psycopg.connect(database) as connection:
        return connection.execute(statement.encode()).fetchall()
