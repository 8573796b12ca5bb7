"""A batch of chat.dialog in: orders, invoices and the position saved in one transaction.

An order is decided once, whatever arrives twice: its id is its stream, and a stream has one version 1. Where another
worker was first (a register's number, a partition that moved) the transaction is refused whole and decided again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from eventsourcing.persistence import DataError, IntegrityError

from chatledger import metrics, topics
from chatledger.dead_letters import dead_letter
from chatledger.errors import InvariantViolated, UndecodableRecord
from chatledger.events.codec import from_wire
from chatledger.events.dialog import OrderPlaced
from chatledger.events.envelope import Envelope
from chatledger.ports import Clock, ConsumedRecord, Publisher, TopicPartition
from chatledger.projects import Project
from chatledger_billing.decisions import Decision, PlacedOrder, invoice, place, register_key
from chatledger_billing.rules import RuleBroken
from chatledger_billing.settings import SERVICE
from chatledger_billing.store import BillingStore, tracking
from chatledger_billing.worker import Worker

CONFLICTS_MAX = 100
"""Each conflict means that another worker saved something; so many in a row mean that something else is wrong."""

_ORDER_PLACED = OrderPlaced.type.encode()
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A record whose order keeps the rules."""

    record: ConsumedRecord
    cause: Envelope
    order: PlacedOrder


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a batch of records comes to, before anything is saved."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[tuple[ConsumedRecord, str, Envelope | None]] = field(default_factory=list)
    positions: dict[TopicPartition, int] = field(default_factory=dict)


def read_batch(records: Sequence[ConsumedRecord], projects: Mapping[str, Project]) -> Batch:
    """Decide each record by itself. Only `order.placed` is decoded; all others just move the position."""
    batch = Batch()
    for record in records:
        batch.positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if ("ce_type", _ORDER_PLACED) not in record.headers:
            continue
        cause = None
        try:
            cause = from_wire(record.headers, record.value)
            if isinstance(cause.data, OrderPlaced):
                batch.accepted.append(Accepted(record=record, cause=cause, order=place(cause, cause.data, projects)))
            else:
                batch.refused.append((record, "order.placed has a schema version that is not known here", cause))
        except (UndecodableRecord, RuleBroken) as wrong:
            batch.refused.append((record, str(wrong), cause))
    return batch


class Biller:
    """Handles batches, in one transaction each. `recorded` is called after something was saved."""

    def __init__(
        self,
        *,
        store: BillingStore,
        worker: Worker,
        publisher: Publisher,
        projects: Mapping[str, Project],
        clock: Clock,
        incarnation: str,
        recorded: Callable[[], None],
    ) -> None:
        self._store, self._worker, self._publisher = store, worker, publisher
        self._projects, self._clock, self._incarnation = projects, clock, incarnation
        self._recorded = recorded
        self._unsaved: dict[TopicPartition, int] = {}

    async def handle(self, records: Sequence[ConsumedRecord]) -> None:
        """Handle one batch. Where it holds no order, its position waits for the next one, or for `save_positions`."""
        batch = read_batch(records, self._projects)
        await self._bury(batch.refused)
        if batch.accepted:
            positions, self._unsaved = {**self._unsaved, **batch.positions}, {}
            await self._save(batch.accepted, positions)
            self._recorded()
        else:
            # Not before everything in the batch is done: `save_positions` may be called at any await.
            self._unsaved.update(batch.positions)
            if batch.refused:
                await self.save_positions()
        metrics.HANDLED.labels(SERVICE).inc(len(records))

    async def save_positions(self) -> None:
        """Save the positions of batches in which nothing was to be done."""
        positions, self._unsaved = self._unsaved, {}
        if positions:
            await self._worker.run(self._record, [], positions)

    async def _save(self, accepted: Sequence[Accepted], positions: Mapping[TopicPartition, int]) -> None:
        try:
            new = await self._worker.run(self._record, [each.order for each in accepted], positions)
        except DataError:
            # Postgres refuses something of some order: find which, and let the others pass.
            new = await self._save_one_by_one(accepted)
            await self._worker.run(self._record, [], positions)
        metrics.DUPLICATES.labels(SERVICE).inc(len(accepted) - len(new))
        for each in accepted:
            if each.order.order.id in new:
                _log.info("order.recorded", order=each.order.order.id, correlation_id=each.cause.correlation_id)

    async def _save_one_by_one(self, accepted: Sequence[Accepted]) -> set[str]:
        new: set[str] = set()
        for each in accepted:
            try:
                new |= await self._worker.run(self._record, [each.order], {})
            except DataError as wrong:
                await self._bury([(each.record, f"Postgres refuses it: {type(wrong.__cause__).__name__}", each.cause)])
        return new

    async def _bury(self, refused: Sequence[tuple[ConsumedRecord, str, Envelope | None]]) -> None:
        if not refused:
            return
        now = self._clock.now()
        letters = [
            dead_letter(record, reason, service=SERVICE, incarnation=self._incarnation, now=now, cause=cause)
            for record, reason, cause in refused
        ]
        await self._publisher.publish(topics.DEAD, letters)
        metrics.DEAD_LETTERS.labels(SERVICE).inc(len(letters))
        for (record, reason, _), letter in zip(refused, letters, strict=True):
            _log.warning(
                "record.dead_lettered",
                reason=reason,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                correlation_id=letter.correlation_id,
            )

    def _record(self, placed: Sequence[PlacedOrder], positions: Mapping[TopicPartition, int]) -> set[str]:
        """Save in one transaction, in the worker's thread; return the ids of the orders that were not there."""
        for _ in range(CONFLICTS_MAX):
            new = self._without_known(placed)
            trackings = [tracking(self._incarnation, each, offset) for each, offset in positions.items()]
            if not new and not trackings:
                return set()
            try:
                self._store.record(self._decide(list(new.values())), trackings)
                return set(new)
            except IntegrityError:
                positions = self._still_ahead(positions)
        raise InvariantViolated(f"a batch was refused {CONFLICTS_MAX} times as if another worker had been first")

    def _without_known(self, placed: Sequence[PlacedOrder]) -> dict[str, PlacedOrder]:
        by_id: dict[str, PlacedOrder] = {}
        for each in placed:
            by_id.setdefault(each.order.id, each)
        known = self._store.existing(by_id)
        return {order_id: each for order_id, each in by_id.items() if order_id not in known}

    def _decide(self, placed: Sequence[PlacedOrder]) -> list[Decision]:
        decisions = [decision for each in placed for decision in each.decisions]
        priced = defaultdict(list)
        for each in placed:
            if each.payment_days is not None:
                priced[register_key(each)].append(each)
        for (project, year), orders in priced.items():
            decisions += invoice(orders, self._store.register(project, year))
        return decisions

    def _still_ahead(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Leave out positions that another worker has reached: ours must not move it back."""
        return {
            partition: offset
            for partition, offset in positions.items()
            if (self._store.next_offset(self._incarnation, partition) or 0) < offset
        }
