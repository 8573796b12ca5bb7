"""One notify worker in this process, between an embedded broker, a real Postgres and the provider's stand-in."""

from __future__ import annotations

import asyncio
import time as time_module
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
from chatledger.events.dialog import MessageTemplate, ReplyRequested
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import DeliveryReported, DeliveryStatus, MessageReceived
from chatledger.ports import Clock
from chatledger.topics import DIALOG, INBOUND
from chatledger_notify.app import CONNECTIONS_MAX, NotifyService, Outside, build, new_report_consumer
from chatledger_notify.provider import Accounts
from chatledger_notify.schedule import RetrySchedule, SendingLimits
from chatledger_notify.transport import AiohttpTransport

PROJECT, CHANNEL, TOKEN = "order-form", "chat2desk", "secret"
STORE, TWILIO, ACCOUNT, SENDER = "store", "twilio", "AC00", "+14155238886"
SOON = RetrySchedule(quick_s=(0.02, 0.03, 0.04), slow_s=(0.1, 0.1))
DEADLINE_S = 20.0


def dialog_event(
    event: Event,
    *,
    number: int,
    client: str,
    time: datetime | None = None,
    project: str = PROJECT,
    channel: str = CHANNEL,
) -> Envelope:
    """An event as the dialog service publishes it; `number` is its version in the client's stream."""
    conversation = conversation_id(project, channel, client)
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


def whatsapp(
    client: str,
    number: int,
    *,
    purpose: str = "reply",
    time: datetime | None = None,
    last_message_at: datetime | None = None,
    template: MessageTemplate | None = None,
    regarding: str | None = None,
    channel: str = TWILIO,
) -> Envelope:
    """A request to send a message over WhatsApp; its text is its number."""
    event = ReplyRequested(
        channel=channel,
        client_id=client,
        text=str(number),
        reply_to={},
        purpose=purpose,
        regarding=regarding,
        last_message_at=last_message_at,
        template=template,
    )
    return dialog_event(event, number=number, client=client, time=time, project=STORE, channel=channel)


def inbound(event: MessageReceived | DeliveryReported, *, unique: str, time: datetime | None = None) -> Envelope:
    """An event of the store's client as ingress publishes it, with an id of what is `unique` about it."""
    conversation = conversation_id(STORE, event.channel, event.client_id)
    return from_outside(
        event,
        id=derive_id("test inbound", conversation, unique),
        source="/chatledger/ingress",
        conversation=conversation,
        time=time or datetime.now(UTC),
    )


def report(
    client: str,
    status: DeliveryStatus,
    *,
    message_id: str,
    delivery_id: str | None,
    time: datetime | None = None,
    error: str | None = None,
    again: int = 0,
) -> Envelope:
    """A provider's report; one that comes `again` has the same id as the first, unless told the other time."""
    event = DeliveryReported(
        channel=TWILIO,
        client_id=client,
        provider_message_id=message_id,
        delivery_id=delivery_id,
        status=status,
        error=error,
        raw={},
    )
    return inbound(event, unique=f"{message_id} {status} {again}", time=time)


def wrote(client: str, time: datetime, *, channel: str = TWILIO) -> Envelope:
    """A message of the store's client."""
    event = MessageReceived(
        channel=channel, client_id=client, provider_message_id=f"in {time}", text="Hi", reply_to={}, raw={}
    )
    return inbound(event, unique=str(time), time=time)


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


def accounts_at(provider_url: str, callback_url: str = "") -> Accounts:
    """Both projects' accounts at one stand-in."""
    twilio = OutboundSecrets(
        api_url=provider_url, token=TOKEN, account=ACCOUNT, sender=SENDER, callback_url=callback_url
    )
    chat2desk = OutboundSecrets(api_url=provider_url, token=TOKEN)
    return {(PROJECT, CHANNEL): chat2desk, (STORE, TWILIO): twilio}


@asynccontextmanager
async def worker(
    *,
    bootstrap_servers: str,
    database: str,
    provider_url: str,
    clock: Clock | None = None,
    schedule: RetrySchedule = SOON,
    limits: SendingLimits | None = None,
    timeout_s: float = 10.0,
    callback_url: str = "",
    templates: Mapping[str, str] | None = None,
    monotonic: Callable[[], float] = time_module.monotonic,
    incarnation: str = "test",
    group: str = "chatledger-notify",
    dialog: str = DIALOG,
    inbound: str = INBOUND,
) -> AsyncIterator[NotifyService]:
    """A running worker; drained at the end, as after SIGTERM. `templates` are those of the store.

    It reads `dialog` and `inbound`; given another topic it hears nothing of one of them.
    """
    await migrate(database, schema="notify", package="chatledger_notify")
    pool = await open_pool(database, connections_max=CONNECTIONS_MAX)
    producer = await start_producer(bootstrap_servers)
    consumer = new_consumer(bootstrap_servers, group=group)
    listener = new_report_consumer(bootstrap_servers, group=f"{group}-reports")
    stop = asyncio.Event()
    async with httpx.AsyncClient(
        transport=AiohttpTransport(connections_max=64, timeout_s=timeout_s), trust_env=False
    ) as client:
        service = build(
            pool=pool,
            database_url=database,
            outside=Outside(
                publisher=KafkaPublisher(producer), client=client, clock=clock or SystemClock(), monotonic=monotonic
            ),
            accounts=accounts_at(provider_url, callback_url),
            templates={(STORE, TWILIO): templates or {}},
            incarnation=incarnation,
            limits=limits or SendingLimits(schedule=schedule),
        )
        subscription = KafkaSubscription(consumer, topics=[dialog], positions=service.positions)
        reports = KafkaSubscription(listener, topics=[inbound], positions=service.report_positions)
        await asyncio.gather(consumer.start(), listener.start())
        running = asyncio.create_task(service.run(subscription, reports, stop))
        try:
            yield service
        finally:
            stop.set()
            await running
            await consumer.stop()
            await listener.stop()
            await producer.stop()
            await pool.close()


def query(database: str, statement: str) -> Sequence[Any]:
    """The rows of a query, on a connection of its own."""
    with psycopg.connect(database) as connection:
        return connection.execute(statement.encode()).fetchall()
