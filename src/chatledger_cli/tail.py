"""`chatledger tail`: the events on the topics as they come, read without a group, so that it disturbs nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.errors import BrokerUnavailable, UndecodableRecord
from chatledger.events.codec import encode_data, from_wire, type_and_version
from chatledger.events.envelope import Envelope
from chatledger_cli.places import bootstrap_servers

DATA_LENGTH_SHOWN = 120


class Since(StrEnum):
    """Where to begin."""

    START = "start"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One event and the topic it came from."""

    topic: str
    envelope: Envelope


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tail)


def tail(
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; may be given again.")] = None,
    type_name: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; may be given again.")
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Only this conversation: project/channel/client.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    since: Annotated[Since, typer.Option(help="From the oldest that the broker has, or from now on.")] = Since.NOW,
) -> None:
    """Show events from the broker as they come, one line each, until Ctrl-C.

    Example: chatledger tail --since start --type order.placed --count 5

    Example: chatledger tail --conversation order-form/chat2desk/4711 --json
    """
    wanted_types = frozenset(type_name or ())

    def wanted(envelope: Envelope) -> bool:
        return (not wanted_types or type_and_version(envelope.data)[0] in wanted_types) and (
            conversation is None or envelope.conversation == conversation
        )

    asyncio.run(_tail(tuple(topic or topics.ALL), since, count, wanted, as_json))


async def _tail(names: tuple[str, ...], since: Since, count: int | None, wanted: Any, as_json: bool) -> None:
    shown = 0
    async for event in events(bootstrap_servers(), names, since):
        if wanted(event.envelope):
            typer.echo(_json_line(event) if as_json else _line(event))
            shown += 1
            if shown == count:
                return


async def events(broker: str, names: tuple[str, ...], since: Since) -> AsyncIterator[Shown]:
    """Yield the events on topics, without end. Raises BrokerUnavailable. What is no event of ours is passed over."""
    # The embedded broker gives one batch of a partition at a time, and each would wait for the others to have news.
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(name, number) for name in names for number in range(topics.PARTITIONS)])
        if since is Since.NOW:
            await consumer.seek_to_end()
        async for record in _records(consumer, from_start=since is Since.START):
            try:
                yield Shown(topic=record.topic, envelope=from_wire(record.headers, record.value))
            except UndecodableRecord as wrong:
                where = f"{record.topic}/{record.partition}/{record.offset}"
                typer.echo(f"passed over {where}: {wrong}", err=True)
    except KafkaError as wrong:
        raise BrokerUnavailable(f"no broker answers at {broker}: {wrong}") from wrong
    finally:
        await consumer.stop()


async def _records(consumer: AIOKafkaConsumer, *, from_start: bool) -> AsyncIterator[Any]:
    """The records as they come; those that were there before, in the order in which they were published."""
    if from_start:
        assigned = consumer.assignment()
        ends = await consumer.end_offsets(assigned)
        oldest = await consumer.beginning_offsets(assigned)
        await consumer.seek_to_beginning()
        left = [partition for partition in assigned if oldest[partition] < ends[partition]]
        # Each partition is in order by itself, so the next of all is among the first of each.
        heads = {partition: await consumer.getone(partition) for partition in left}
        while heads:
            partition = min(heads, key=lambda each: (heads[each].timestamp, each.topic, each.partition))
            record = heads.pop(partition)
            yield record
            if record.offset + 1 < ends[partition]:
                heads[partition] = await consumer.getone(partition)
    async for record in consumer:
        yield record


def _line(event: Shown) -> str:
    envelope = event.envelope
    data = encode_data(envelope.data).decode()
    if len(data) > DATA_LENGTH_SHOWN:
        data = data[: DATA_LENGTH_SHOWN - 1] + "…"
    time = envelope.time.strftime("%H:%M:%S.%f")[:-3]
    type_name = type_and_version(envelope.data)[0]
    return f"{time} {event.topic:<12} {envelope.conversation} {type_name} {data}"


def _json_line(event: Shown) -> str:
    envelope = event.envelope
    type_name, version = type_and_version(envelope.data)
    fields = {
        "topic": event.topic,
        "id": envelope.id,
        "type": type_name,
        "schema_version": version,
        "conversation": envelope.conversation,
        "time": envelope.time,
        "stream": envelope.stream,
        "stream_version": envelope.stream_version,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "data": orjson.Fragment(encode_data(envelope.data)),
    }
    return orjson.dumps(fields).decode()
