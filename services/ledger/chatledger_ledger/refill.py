"""Puts recorded events back on the topics that they were on, word for word, and counts what each service has handled.

Each goes to its own partition, in the order of positions, which keeps the order of each partition. So how far a refill
came is told by the partitions' ends alone. Not put back is what was on no topic: the letters that the ledger itself
wrote about records that it could not keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from aiokafka.partitioner import murmur2

from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.ledger_records import SERVICE, LedgerRecord, wire_of
from chatledger.adapters.ledger_rows import RecordedRow
from chatledger.errors import ConfigurationError
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import Selection, TopicPartition
from chatledger.topics import PARTITIONS
from chatledger_ledger.restore_plan import EVERYWHERE, RestorePlan

RECORDS_PER_PUBLISH = 2_000
KEYS_KNOWN_MAX = 100_000
"""The partition of a key is computed in Python, so it is kept of as many."""

_OWN_LETTER = f'"/chatledger/{SERVICE}"'.encode()

Publish = Callable[[list[OutgoingRecord]], Awaitable[None]]
Advance = Callable[[int], object]
"""Is told how many more rows were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a partition of the broker reaches, and the id of its last event; None where it has none."""

    end: int
    last_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Refilled:
    """What a refill came to. `offsets` are the services' next ones, `ends` those of the partitions.

    `elsewhere` counts events that are not where their key's hash says; `left_out` those of topics that are no more.
    """

    events: int = 0
    elsewhere: int = 0
    left_out: int = 0
    by_topic: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, dict[TopicPartition, int]] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)


async def refill(
    reader: PostgresLedgerReader,
    publisher: BatchPublisher | None,
    plan: RestorePlan,
    there: Mapping[TopicPartition, Standing],
    *,
    advance: Advance = lambda rows: None,
) -> Refilled:
    """Publish what the plan says and is not `there` yet; without a publisher only count.

    Raises BrokerUnavailable, after which it can be gone on with; ConfigurationError where something else is there.
    """
    tellers = {(at.topic, at.partition): _Teller(plan, at, there.get(at, Standing(end=0))) for at in EVERYWHERE}
    result, waiting, looked_at = Refilled(), list[OutgoingRecord](), 0
    selection = Selection(after=min(plan.after.values()), until_position=plan.until)
    async with _one_ahead(publisher) as publish:
        async for row in reader.records(selection):
            looked_at += 1
            teller = tellers.get((row.record.topic, row.record.partition))
            if teller is None:
                result.left_out += 1
            elif row.position > teller.after and not _is_own_letter(row.record):
                outgoing = teller.take(row)
                if outgoing is not None:
                    result.elsewhere += partition_of(outgoing.key) != outgoing.partition
                    waiting.append(outgoing)
            if looked_at >= RECORDS_PER_PUBLISH:
                await publish(waiting)
                advance(looked_at)
                waiting, looked_at = [], 0
        await publish(waiting)
    advance(looked_at)
    for teller in tellers.values():
        teller.finish(result)
    return result


@asynccontextmanager
async def _one_ahead(publisher: BatchPublisher | None) -> AsyncIterator[Publish]:
    """Publish one lot while the next is read; everything is published, or has failed, at the end of the `with`."""
    under_way: asyncio.Future[None] | None = None

    async def publish(records: list[OutgoingRecord]) -> None:
        nonlocal under_way
        if under_way is not None:
            await under_way
        under_way = None
        if records and publisher is not None:
            under_way = asyncio.ensure_future(publisher.publish(records))

    try:
        yield publish
    finally:
        if under_way is not None:
            await under_way


class _Teller:
    """One partition: which of its events are there, and what each service's position comes to."""

    def __init__(self, plan: RestorePlan, at: TopicPartition, standing: Standing) -> None:
        self.after = plan.after[at]
        self._at, self._standing = at, standing
        self._first, self._count = plan.first_offsets[at], 0
        self._there = standing.end - self._first
        self._handled_by_all = plan.handled_by_all(at)
        # The least is last, so that it is the next to be reached.
        self._marks = sorted(
            ((each[at], service) for service, each in plan.handled.items() if at in each), reverse=True
        )
        self._offsets: dict[str, int] = {}

    def take(self, row: RecordedRow) -> OutgoingRecord | None:
        """Count one event; return it where it is not there yet."""
        while self._marks and self._marks[-1][0] < row.position:
            self._offsets[self._marks.pop()[1]] = self._first + self._count
        self._count += 1
        if self._count <= self._there:
            if self._count == self._there:
                self._require_same(row.record.id)
            return None
        wire = wire_of(row.record)
        # Its own time, by which the broker forgets it in due course; unless somebody is still to read it.
        time_ms = int(row.recorded_at.timestamp() * 1000) if row.position <= self._handled_by_all else None
        return OutgoingRecord(self._at.topic, self._at.partition, wire.key, wire.value, wire.headers, time_ms)

    def finish(self, result: Refilled) -> None:
        """Hand over what was counted."""
        if self._count < self._there:
            raise self._somebody_wrote()
        for _, service in self._marks:
            self._offsets[service] = self._first + self._count
        for service, offset in self._offsets.items():
            result.offsets.setdefault(service, {})[self._at] = offset
        result.ends[self._at] = self._first + self._count
        result.events += self._count
        result.by_topic[self._at.topic] = result.by_topic.get(self._at.topic, 0) + self._count

    def _require_same(self, event_id: str) -> None:
        if self._standing.last_id != event_id:
            raise self._somebody_wrote()

    def _somebody_wrote(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._at.topic}/{self._at.partition} ends with a record that is not from this restore: somebody has"
            " written to it meanwhile; stop all services, delete the topics, and run `chatledger restore` again"
            " under another CHATLEDGER_INCARNATION"
        )


def _is_own_letter(record: LedgerRecord) -> bool:
    return record.type == RecordDeadLettered.type and _OWN_LETTER in record.metadata


@lru_cache(maxsize=KEYS_KNOWN_MAX)
def partition_of(key: bytes) -> int:
    """Where every Kafka client puts this key."""
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)
