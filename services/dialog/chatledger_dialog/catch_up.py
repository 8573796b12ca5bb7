"""Before a partition is used: is this version of the table still the live one, and is nothing missing in it?

A table that was rebuilt from the ledger holds what had been recorded by then. What was decided since is on chat.dialog,
and is folded from there by whoever has the partition, once. A worker of another version publishes its outputs before it
gives a partition up, so nothing of its is missed; and it asks here before it takes one, so it never goes on with a
table that was left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.adapters.table_versions import TableVersions
from chatledger.dialog_table import LiveTable
from chatledger.errors import BrokerUnavailable, ConfigurationError, OutsideUnavailable
from chatledger.events.codec import from_wire
from chatledger.events.envelope import Envelope
from chatledger_dialog.handlers import BatchHandler

FETCH_TIMEOUT_S = 10.0
POLL_MS = 500


class TableSwitched(OutsideUnavailable):
    """Another version of the table is live: the process ends, and starts again with that one."""


class CatchUp:
    """Prepares partitions, for one worker and the version of the table that it began with."""

    def __init__(self, bootstrap_servers: str, versions: TableVersions, handler: BatchHandler) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._versions = versions
        self._version = versions.live.version
        self._handler = handler

    async def follow(self) -> None:
        """Raise TableSwitched once another version is live; return never otherwise."""
        self._require(await self._versions.follow(self._version))

    async def prepare(self, partition: int, require_ownership: Callable[[], None]) -> None:
        """Return when the partition's states are complete.

        Raises TableSwitched, BrokerUnavailable, what `require_ownership` raises, and ConfigurationError where the
        broker does not have any more what is missing.
        """
        live = await self._versions.refreshed()
        self._require(live)
        missing_from = live.missing_from(partition)
        if missing_from is None:
            return
        events = 0
        async with self._decided(partition, missing_from) as batches:
            async for batch in batches:
                events += len(batch)
                await self._handler.catch_up(partition, batch, require_ownership)
        await self._handler.tell_caught_up(self._version, partition, require_ownership)
        structlog.get_logger().info("table.caught_up", version=self._version, partition=partition, events=events)

    def _require(self, live: LiveTable) -> None:
        if live.version != self._version:
            raise TableSwitched(f"version {live.version} of the dialog's table is live, not {self._version} any more")

    @asynccontextmanager
    async def _decided(self, partition: int, offset: int) -> AsyncIterator[AsyncIterator[Sequence[Envelope]]]:
        """What is on chat.dialog from `offset` to its end as it is now."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False, auto_offset_reset="none"
        )
        at = TopicPartition(topics.DIALOG, partition)
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await consumer.start()
                consumer.assign([at])
                oldest = (await consumer.beginning_offsets([at]))[at]
                end = (await consumer.end_offsets([at]))[at]
            if oldest > offset:
                raise ConfigurationError(
                    f"{topics.DIALOG}/{partition} begins at {oldest} and is needed from {offset}: the dialog's table"
                    " was rebuilt too long ago; run `chatledger rebuild dialog` again"
                )
            consumer.seek(at, offset)
            yield _batches(consumer, at, end)
        except (KafkaError, TimeoutError) as wrong:
            raise BrokerUnavailable(f"{topics.DIALOG} cannot be read: {wrong or 'timed out'}") from wrong
        finally:
            await consumer.stop()


async def _batches(consumer: AIOKafkaConsumer, at: TopicPartition, end: int) -> AsyncIterator[Sequence[Envelope]]:
    while await consumer.position(at) < end:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            fetched = await consumer.getmany(at, timeout_ms=POLL_MS)
        for records in fetched.values():
            yield [from_wire(tuple(record.headers), record.value) for record in records]
