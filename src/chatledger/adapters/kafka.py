"""Kafka through aiokafka: a publisher that answers in bounded time, a subscription that starts at stored positions.

Works on any broker that speaks the protocol, the embedded one included. Nothing is committed to the broker: a
consumer's position is saved with its effect, in one transaction, and reading starts from there on each assignment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from chatledger.errors import BrokerUnavailable, ChatledgerError, OutsideUnavailable, ProducerBroken
from chatledger.events.codec import Headers, to_wire
from chatledger.events.envelope import Envelope
from chatledger.ports import ConsumedRecord, PositionStore, TopicPartition

PUBLISH_TIMEOUT_S = 4.0
"""A provider waits 5 s (Chat2Desk) before it gives a webhook up: a refusal must reach it before that."""
BATCH_RECORDS_MAX = 1_000
"""Bounds the memory of a batch and the length of its transaction."""
POLL_MS = 500
"""How long a poll waits where nothing comes; closing and the watchdog are looked at in between."""
STUCK_AFTER_S = 60.0
"""A consumer with lag and no record for so long is taken for stuck (aiokafka 1154, 1037, 847) and ends its process."""
ASK_ENDS_EVERY_S = 10.0
"""An idle reader asks so often how far the topics go: where fetching is what is stuck, the last fetch tells no lag."""
ASK_ENDS_TIMEOUT_S = 5.0


async def start_producer(bootstrap_servers: str, *, linger_ms: int = 0) -> AIOKafkaProducer:
    """Return a started idempotent producer. Raises BrokerUnavailable when no broker answers."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        enable_idempotence=True,
        acks="all",
        linger_ms=linger_ms,
        request_timeout_ms=int(PUBLISH_TIMEOUT_S * 1000),
        max_batch_size=256 * 1024,
    )
    try:
        await producer.start()
    except BaseException as wrong:
        await producer.stop()
        if isinstance(wrong, KafkaError):
            raise BrokerUnavailable(f"no broker answers at {bootstrap_servers}: {wrong}") from wrong
        raise
    return producer


async def stop_producer(producer: AIOKafkaProducer, *, timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
    """Send what is waiting and stop, in bounded time; what the broker has not taken by then is given up."""
    try:
        async with asyncio.timeout(timeout_s):
            await producer.stop()
    except TimeoutError:
        # Where the broker is away aiokafka's stop waits for ever. This is what it does when its sender dies.
        await producer._sender.close()
        producer._message_accumulator.fail_all(KafkaError("the producer was stopped"))
        await producer.client.close()


class KafkaPublisher:
    """The port Publisher over one producer that its owner starts and stops."""

    def __init__(self, producer: AIOKafkaProducer, *, timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        self._producer = producer
        self._timeout_s = timeout_s

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Return when the broker has all of them. Raises BrokerUnavailable."""
        records = [to_wire(envelope) for envelope in envelopes]
        await self.publish_raw(topic, [(record.key, record.value, record.headers) for record in records])

    async def publish_raw(self, topic: str, records: Sequence[tuple[bytes, bytes | None, Headers]]) -> None:
        """The same for records that are encoded already. A value of None is a tombstone.

        Raises ProducerBroken where trying again with this producer is of no use: it lost its sequence, say.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                sent = [
                    # aiokafka's encoder, which is in C, takes a list only.
                    await self._producer.send(topic, value, key=key, headers=list(headers))
                    for key, value, headers in records
                ]
                for acknowledged in sent:
                    await acknowledged
        except (KafkaError, TimeoutError) as wrong:
            for_good = isinstance(wrong, KafkaError) and not wrong.retriable
            error = ProducerBroken if for_good else BrokerUnavailable
            raise error(f"{topic}: not acknowledged: {wrong or 'timed out'}") from wrong


async def cluster_id(bootstrap_servers: str) -> str:
    """Return the broker's cluster id, which names its incarnation. Raises BrokerUnavailable."""
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        described = await admin.describe_cluster()
        return str(described["cluster_id"])
    except KafkaError as wrong:
        raise BrokerUnavailable(f"no broker answers at {bootstrap_servers}: {wrong}") from wrong
    finally:
        await admin.close()


class KafkaSubscription:
    """The port Subscription: a group member that starts from the position store's offsets."""

    def __init__(self, consumer: AIOKafkaConsumer, *, topics: Collection[str], positions: PositionStore) -> None:
        self._consumer = consumer
        self._next: dict[TopicPartition, int] = {}
        self._closing = False
        self._listener = _SeekOnAssignment(consumer, positions, self._next)
        consumer.subscribe(list(topics), listener=self._listener)

    async def batches(self) -> AsyncIterator[Sequence[ConsumedRecord]]:
        """Yield what has arrived. Raises OutsideUnavailable when reading is stuck: the process should end."""
        progress_at = asked_at = time.monotonic()
        while not self._closing:
            fetched = await self._fetched()
            batch = [_consumed(record) for records in fetched.values() for record in records]
            if batch:
                yield batch
                for record in batch:
                    self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
                progress_at = asked_at = time.monotonic()
            elif time.monotonic() - asked_at > ASK_ENDS_EVERY_S:
                asked_at = time.monotonic()
                if not await self._is_behind():
                    progress_at = time.monotonic()
                elif time.monotonic() - progress_at > STUCK_AFTER_S:
                    raise OutsideUnavailable(f"no record for {STUCK_AFTER_S:.0f} s although there is lag")

    async def _fetched(self) -> Mapping[KafkaPartition, Sequence[object]]:
        if self._listener.failure is not None:
            raise self._listener.failure
        try:
            fetched: Mapping[KafkaPartition, Sequence[object]] = await self._consumer.getmany(
                timeout_ms=POLL_MS, max_records=BATCH_RECORDS_MAX
            )
        except NoOffsetForPartitionError:
            # The fetcher asks for a committed offset, of which there is none, while the listener still loads ours.
            return {}
        except OffsetOutOfRangeError as wrong:
            gone = ", ".join(f"{at.topic}/{at.partition} offset {offset}" for at, offset in wrong.args[0].items())
            # Trying later helps nobody here, so it is no OutsideUnavailable.
            raise ChatledgerError(
                f"the broker does not have what comes next after this service's stored position ({gone}): it dropped"
                " the records before they were read, or was replaced under the same cluster id (set"
                " CHATLEDGER_INCARNATION to a new name then)"
            ) from wrong
        return fetched

    async def _is_behind(self) -> bool:
        """Whether there is more than was handled. Where the broker does not answer, by what the last fetch told."""
        assigned = self._consumer.assignment()
        try:
            async with asyncio.timeout(ASK_ENDS_TIMEOUT_S):
                ends = await self._consumer.end_offsets(assigned)
        except (KafkaError, TimeoutError):
            return any((await self.lag()).values())
        return any(end > self._next.get(TopicPartition(at.topic, at.partition), 0) for at, end in ends.items())

    async def lag(self) -> dict[TopicPartition, int]:
        """How many records of each assigned partition were not yet handled."""
        lags = {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            at = TopicPartition(partition.topic, partition.partition)
            lags[at] = max(0, (end or 0) - self._next.get(at, 0))
        return lags

    async def close(self) -> None:
        """End `batches` after the batch in hand. Whoever started the consumer stops it."""
        self._closing = True


class _SeekOnAssignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Puts each newly assigned partition where the effects have come to."""

    def __init__(
        self, consumer: AIOKafkaConsumer, positions: PositionStore, next_offsets: dict[TopicPartition, int]
    ) -> None:
        self._consumer, self._positions, self._next = consumer, positions, next_offsets
        self.failure: Exception | None = None
        """What went wrong: aiokafka only logs what a listener raises, and would go on without our positions."""

    async def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:
        """Nothing is held: the position is in the effect's transaction."""

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        """Seek to the stored position, or to the oldest record where there is none."""
        try:
            await self._seek(assigned)
        except Exception as wrong:
            self.failure = wrong
            raise

    async def _seek(self, assigned: Collection[KafkaPartition]) -> None:
        stored = await self._positions.load([TopicPartition(each.topic, each.partition) for each in assigned])
        oldest = await self._consumer.beginning_offsets(assigned)
        self._next.clear()
        for each in assigned:
            partition = TopicPartition(each.topic, each.partition)
            self._next[partition] = stored.get(partition, oldest[each])
            self._consumer.seek(each, self._next[partition])


def new_consumer(
    bootstrap_servers: str, *, group: str, fetch_min_bytes: int = 1, fetch_max_wait_ms: int = 100
) -> AIOKafkaConsumer:
    """Return a consumer, not yet started, that commits nothing; a dead member is noticed within ten seconds.

    Records that the broker dropped before they were read are an error, never skipped: no automatic offset reset.
    The broker waits for `fetch_min_bytes` to be there, but not for longer than `fetch_max_wait_ms`.
    """
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=3_000,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_min_bytes=fetch_min_bytes,
        fetch_max_wait_ms=fetch_max_wait_ms,
        metadata_max_age_ms=10_000,
    )


def _consumed(record: object) -> ConsumedRecord:
    return ConsumedRecord(
        topic=record.topic,  # type: ignore[attr-defined]  # aiokafka ships no types
        partition=record.partition,  # type: ignore[attr-defined]  # see above
        offset=record.offset,  # type: ignore[attr-defined]  # see above
        key=record.key,  # type: ignore[attr-defined]  # see above
        value=record.value,  # type: ignore[attr-defined]  # see above
        headers=tuple(record.headers),  # type: ignore[attr-defined]  # see above
    )
