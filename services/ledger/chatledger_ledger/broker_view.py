"""What the broker holds, for comparing it with the ledger: how far its topics reach, and the dialog's table.

It reads partitions by hand, as a member of no group, so it disturbs no service.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.adapters.table_versions import read_live_table
from chatledger.errors import BrokerUnavailable
from chatledger.ports import TopicPartition

ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicExtent:
    """From the oldest record that is there to behind the newest."""

    oldest: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogTable:
    """The changelog as a table: the last value of each key. It is partial where the broker dropped old records."""

    entries: dict[str, bytes]
    is_partial: bool


class BrokerView:
    """Reads from one broker, between `open_broker_view` and its end."""

    def __init__(self, bootstrap_servers: str, consumer: AIOKafkaConsumer, as_dialog: AIOKafkaConsumer) -> None:
        """`as_dialog` asks in the name of the dialog's group, without ever being a member of it."""
        self._bootstrap_servers = bootstrap_servers
        self._consumer = consumer
        self._as_dialog = as_dialog

    async def extents(self, names: Collection[str]) -> dict[TopicPartition, TopicExtent]:
        """How far each partition of these topics reaches; a topic that is not there is left out."""
        partitions = []
        for name in sorted(set(names) & set(await self._consumer.topics())):
            # Asking for its partitions only knows topics whose metadata was fetched.
            await self._consumer._client._wait_on_metadata(name)
            partitions += [KafkaPartition(name, number) for number in self._consumer.partitions_for_topic(name) or ()]
        oldest = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {
            TopicPartition(each.topic, each.partition): TopicExtent(oldest=oldest[each], end=ends[each])
            for each in partitions
        }

    async def dialog_lag(self, extents: Mapping[TopicPartition, TopicExtent]) -> int:
        """How many records of chat.inbound the dialog's group has not committed yet; `extents` are the topics'."""
        lag = 0
        for at, extent in extents.items():
            if at.topic == topics.INBOUND:
                committed = await self._as_dialog.committed(KafkaPartition(at.topic, at.partition)) or 0
                lag += max(0, extent.end - max(committed, extent.oldest))
        return lag

    async def dialog_table(self) -> DialogTable:
        """Read the whole changelog. Raises BrokerUnavailable when it does not come to its end in time."""
        live = await read_live_table(self._bootstrap_servers)
        extents = await self.extents([live.changelog])
        waited = {KafkaPartition(at.topic, at.partition): extent.end for at, extent in extents.items() if extent.end}
        self._consumer.assign(list(waited))
        for partition in waited:
            self._consumer.seek(partition, extents[TopicPartition(partition.topic, partition.partition)].oldest)
        entries: dict[str, bytes] = {}
        try:
            while any([await self._consumer.position(partition) < end for partition, end in waited.items()]):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    fetched = await self._consumer.getmany(timeout_ms=200)
                for records in fetched.values():
                    for record in records:
                        _lay_down(entries, record.key, record.value)
        except TimeoutError as wrong:
            raise BrokerUnavailable("the dialog's changelog could not be read in time") from wrong
        return DialogTable(entries=entries, is_partial=any(extent.oldest > 0 for extent in extents.values()))


@contextlib.asynccontextmanager
async def open_broker_view(bootstrap_servers: str) -> AsyncIterator[BrokerView]:
    """Connect for the time of a `with`. Raises BrokerUnavailable."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="none")
    as_dialog = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=topics.DIALOG_GROUP, enable_auto_commit=False
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await consumer.start()
            await as_dialog.start()
        yield BrokerView(bootstrap_servers, consumer, as_dialog)
    except (KafkaError, TimeoutError) as wrong:
        raise BrokerUnavailable(f"no broker answers at {bootstrap_servers}: {wrong or 'timed out'}") from wrong
    finally:
        await consumer.stop()
        await as_dialog.stop()


async def dialog_workers(bootstrap_servers: str) -> int | None:
    """How many members the dialog's group has; None where the broker cannot tell, as the embedded one cannot."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await admin.start()
            (described,) = await admin.describe_consumer_groups([topics.DIALOG_GROUP])
    except (KafkaError, TimeoutError):
        return None
    finally:
        await admin.close()
    return sum(len(group[5]) for group in described.groups)


def _lay_down(entries: dict[str, bytes], key: bytes | None, value: bytes | None) -> None:
    if value is None:
        entries.pop((key or b"").decode(errors="replace"), None)
    else:
        entries[(key or b"").decode(errors="replace")] = value
