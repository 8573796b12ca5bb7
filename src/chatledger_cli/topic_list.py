"""`chatledger topics`: the topics on the broker, and making those that are missing."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from chatledger import topics as names
from chatledger.errors import BrokerUnavailable
from chatledger_cli.backends import make_topics
from chatledger_cli.places import bootstrap_servers


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(topics)


def topics(
    create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing first.")] = False,
) -> None:
    """List the topics with their partitions and how many records they hold.

    Example: CHATLEDGER_BROKER=localhost:9092 chatledger topics --create
    """
    asyncio.run(_topics(create))


async def _topics(create: bool) -> None:
    broker = bootstrap_servers()
    if create:
        made = await make_topics(broker)
        typer.echo(f"created: {', '.join(made)}" if made else "nothing was missing")
    counts = await _counts(broker)
    table = Table("topic", "partitions", "records", "cleanup", box=None, header_style="bold")
    for plan in names.PLANS:
        partitions, records = counts.get(plan.name, (0, 0))
        cleanup = "compacted" if plan.compacted else "by retention"
        table.add_row(plan.name, str(partitions or "missing"), f"{records:,}", cleanup)
    Console(soft_wrap=True).print(table)


async def _counts(broker: str) -> dict[str, tuple[int, int]]:
    """Partitions and records of each topic that is there."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker)
    try:
        await consumer.start()
        cluster = await consumer._client.fetch_all_metadata()  # `topics()` would tell the names alone
        counts = {}
        for topic in cluster.topics() & {plan.name for plan in names.PLANS}:
            partitions = [TopicPartition(topic, number) for number in cluster.partitions_for_topic(topic)]
            ends, oldest = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
            counts[topic] = len(partitions), sum(ends[each] - oldest[each] for each in partitions)
    except KafkaError as wrong:
        raise BrokerUnavailable(f"no broker answers at {broker}: {wrong}") from wrong
    finally:
        await consumer.stop()
    return counts
