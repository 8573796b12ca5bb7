"""Reads and follows which version of the dialog's table is live, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.dialog_table import LiveTable, encode_caught_up, encode_switch, live_table
from chatledger.errors import BrokerUnavailable

PARTITION = 0
"""All of it is in one partition, so that it has one order."""
ANSWER_TIMEOUT_S = 10.0
POLL_MS = 500


class TableVersions:
    """What is said about the dialog's table; `open` before use, `stop` after."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._at = TopicPartition(topics.TABLE_VERSIONS, PARTITION)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self._reading = asyncio.Lock()
        self.live = LiveTable()

    async def open(self) -> LiveTable:
        """Connect, and read what was said by now. Raises BrokerUnavailable."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._consumer.start()
                self._consumer.assign([self._at])
                await self._consumer.seek_to_beginning(self._at)
        except (KafkaError, TimeoutError) as wrong:
            raise BrokerUnavailable(
                f"no broker answers at {self._bootstrap_servers}: {wrong or 'timed out'}"
            ) from wrong
        return await self.refreshed()

    async def refreshed(self) -> LiveTable:
        """Read to the end as it is now. Raises BrokerUnavailable."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S), self._reading:
                end = (await self._consumer.end_offsets([self._at]))[self._at]
                while await self._consumer.position(self._at) < end:
                    await self._take(POLL_MS)
        except (KafkaError, TimeoutError) as wrong:
            raise BrokerUnavailable(f"{topics.TABLE_VERSIONS} cannot be read: {wrong or 'timed out'}") from wrong
        return self.live

    async def follow(self, version: int) -> LiveTable:
        """Return what is live once that is another version."""
        while self.live.version == version:
            async with self._reading:
                await self._take(0)
            # Not a long poll: `refreshed` must not wait behind it.
            await asyncio.sleep(POLL_MS / 1000)
        return self.live

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def _take(self, timeout_ms: int) -> None:
        fetched = await self._consumer.getmany(self._at, timeout_ms=timeout_ms)
        for records in fetched.values():
            self.live = live_table(((record.key, record.value) for record in records), self.live)


async def read_live_table(bootstrap_servers: str) -> LiveTable:
    """Return which version is live now. Raises BrokerUnavailable."""
    versions = TableVersions(bootstrap_servers)
    try:
        return await versions.open()
    finally:
        await versions.stop()


async def switch_table(producer: AIOKafkaProducer, version: int, cuts: Mapping[int, int]) -> None:
    """Make a version live: the one record that all workers follow. Raises BrokerUnavailable."""
    key, value = encode_switch(version, cuts)
    await BatchPublisher(producer).publish([OutgoingRecord(topics.TABLE_VERSIONS, PARTITION, key, value, ())])


def caught_up_record(version: int, partition: int) -> OutgoingRecord:
    """Return the record with which a worker says that it has folded what was missing of a partition."""
    key, value = encode_caught_up(version, partition)
    return OutgoingRecord(topics.TABLE_VERSIONS, PARTITION, key, value, ())
