"""The broker's side of a restore: what its topics hold, who is reading them, and where the dialog goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from chatledger.adapters.kafka_batches import OutgoingRecord
from chatledger.errors import BrokerUnavailable
from chatledger.ports import TopicPartition
from chatledger.topics import DIALOG_GROUP
from chatledger_ledger.refill import Standing

ANSWER_TIMEOUT_S = 10.0
GROUPS = "chatledger-"
"""What the names of all services' groups begin with."""


async def standings(bootstrap_servers: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Standing]:
    """Return how far each of these partitions reaches, and its last event. Raises BrokerUnavailable."""
    async with _consumer(bootstrap_servers, group=None) as consumer:
        asked = [KafkaPartition(each.topic, each.partition) for each in partitions]
        for topic in sorted({each.topic for each in asked}):
            # The embedded broker makes a topic when it is asked for it.
            await consumer._client._wait_on_metadata(topic)
        oldest = await consumer.beginning_offsets(asked)
        found = {}
        for at, end in (await consumer.end_offsets(asked)).items():
            last_id = await _last_id(consumer, at, end) if end > oldest[at] else None
            found[TopicPartition(at.topic, at.partition)] = Standing(end=end, last_id=last_id)
        return found


async def read_records(bootstrap_servers: str, ends: Mapping[TopicPartition, int]) -> list[OutgoingRecord]:
    """Return what stands below these offsets, in the order of each partition. Raises BrokerUnavailable."""
    waited = {KafkaPartition(at.topic, at.partition): end for at, end in ends.items() if end > 0}
    found: list[OutgoingRecord] = []
    async with _consumer(bootstrap_servers, group=None) as consumer:
        for topic in sorted({each.topic for each in waited}):
            await consumer._client._wait_on_metadata(topic)
        consumer.assign(list(waited))
        for at, oldest in (await consumer.beginning_offsets(list(waited))).items():
            consumer.seek(at, oldest)
        while any([await consumer.position(at) < end for at, end in waited.items()]):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                fetched = await consumer.getmany(timeout_ms=200)
            for at, records in fetched.items():
                found += [
                    OutgoingRecord(at.topic, at.partition, each.key or b"", each.value, tuple(each.headers))
                    for each in records
                    if each.offset < waited[at]
                ]
    return found


async def members(bootstrap_servers: str) -> dict[str, int]:
    """Return the groups of ours that have members, and how many; none where the broker cannot tell.

    The embedded one cannot. Raises BrokerUnavailable.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await admin.start()
            names = [name for name, *_ in await admin.list_consumer_groups() if name.startswith(GROUPS)]
            # One at a time: aiokafka 0.14 misreads an answer about several.
            described = [each for name in names for each in await admin.describe_consumer_groups([name])]
    except (KafkaError, TimeoutError) as wrong:
        raise BrokerUnavailable(f"{bootstrap_servers} does not say who reads its topics: {wrong!r}") from wrong
    finally:
        await admin.close()
    groups = [group for answer in described for group in answer.groups]
    return {group[1]: len(group[5]) for group in groups if group[5]}


async def commit_for_dialog(bootstrap_servers: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Say where the dialog's group goes on; it must have no members. Raises BrokerUnavailable."""
    async with _consumer(bootstrap_servers, group=DIALOG_GROUP) as consumer:
        places = {KafkaPartition(at.topic, at.partition): offset for at, offset in offsets.items()}
        consumer.assign(list(places))
        await consumer.commit(places)


@contextlib.asynccontextmanager
async def _consumer(bootstrap_servers: str, *, group: str | None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await consumer.start()
        yield consumer
    except (KafkaError, TimeoutError) as wrong:
        raise BrokerUnavailable(f"no broker answers at {bootstrap_servers}: {wrong or 'timed out'}") from wrong
    finally:
        await consumer.stop()


async def _last_id(consumer: AIOKafkaConsumer, at: KafkaPartition, end: int) -> str | None:
    """The event id of a partition's last record."""
    consumer.assign([at])
    consumer.seek(at, end - 1)
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        record = await consumer.getone()
    return next((value.decode(errors="replace") for name, value in record.headers if name == "ce_id" and value), None)
