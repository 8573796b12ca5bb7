"""Reads chat.inventory beside Faust, and keeps the projects' stock and prices like what it says.

All partitions are read from their beginning, as a member of no group: every worker has to know every product. It is
read to its end before the worker handles messages, for a limited time: a shop with the prices of its file is better
than a shop that does not answer.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.errors import OutsideUnavailable, UndecodableRecord
from chatledger.events.codec import from_wire
from chatledger.events.envelope import project_of
from chatledger.events.inventory import InventoryUpdated
from chatledger.inventory import LiveProjects

CATCH_UP_MAX_S = 20.0
POLL_MS = 500
RETRY_PAUSE_S = 1.0

_TYPE = InventoryUpdated.type.encode()
_log = structlog.get_logger()


class InventoryReader:
    """Takes what chat.inventory says into `live`; `open`, then `follow`, then `stop`."""

    def __init__(self, bootstrap_servers: str, live: LiveProjects, *, catch_up_max_s: float = CATCH_UP_MAX_S) -> None:
        self._live = live
        self._catch_up_max_s = catch_up_max_s
        self._bootstrap_servers = bootstrap_servers
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            enable_auto_commit=False,
            # What was dropped from the topic meanwhile is said there again: crm says each product twice a day.
            auto_offset_reset="earliest",
        )

    async def open(self) -> None:
        """Connect, and read all that is there; after a while go on without the rest. Raises OutsideUnavailable."""
        started_at = time.monotonic()
        try:
            await self._consumer.start()
        except KafkaError as wrong:
            raise OutsideUnavailable(f"no broker answers at {self._bootstrap_servers}: {wrong}") from wrong
        try:
            async with asyncio.timeout(self._catch_up_max_s):
                await self._catch_up()
        except (TimeoutError, KafkaError) as wrong:
            hint = "messages are answered with what is known by now, else with the project file's stock and prices"
            _log.warning("inventory.not_read_in_time", error=repr(wrong), hint=hint)
        seconds = round(time.monotonic() - started_at, 2)
        _log.info("inventory.read", products=self._live.products, seconds=seconds)

    async def follow(self) -> None:
        """Take in what comes, until cancelled."""
        while True:
            try:
                await self._take(POLL_MS)
            except KafkaError as wrong:
                _log.warning("inventory.not_read", error=repr(wrong))
                await asyncio.sleep(RETRY_PAUSE_S)

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def _catch_up(self) -> None:
        partitions = [TopicPartition(topics.INVENTORY, number) for number in range(topics.PARTITIONS)]
        self._consumer.assign(partitions)
        ends = await self._consumer.end_offsets(partitions)
        for partition, oldest in (await self._consumer.beginning_offsets(partitions)).items():
            self._consumer.seek(partition, oldest)
        while any([await self._consumer.position(each) < ends[each] for each in partitions]):
            await self._take(100)

    async def _take(self, timeout_ms: int) -> None:
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for record in records:
                self._read(record)

    def _read(self, record: object) -> None:
        headers = tuple(record.headers)  # type: ignore[attr-defined]  # aiokafka ships no types
        if dict(headers).get("ce_type") != _TYPE:
            return
        try:
            envelope = from_wire(headers, record.value)  # type: ignore[attr-defined]  # as above
        except UndecodableRecord as wrong:
            _log.warning("inventory.unreadable", reason=str(wrong), offset=record.offset)  # type: ignore[attr-defined]  # as above
            return
        if isinstance(envelope.data, InventoryUpdated):
            self._live.take(project_of(envelope.conversation), envelope.data)
