"""A batch of chat.dialog in: orders, invoices, cancellations and the position saved in one transaction.

Each is decided once, whatever arrives twice: an order's id is its stream, and a stream has one version 1; a
cancellation leaves an event that names it as its cause. Where another writer was first (a register's number, a command
of the API, a partition that moved) the transaction is refused whole and decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from eventsourcing.persistence import DataError, IntegrityError

from chatledger import metrics, topics
from chatledger.dead_letters import dead_letter
from chatledger.errors import InvariantViolated
from chatledger.ports import Clock, ConsumedRecord, Publisher, TopicPartition
from chatledger.projects import Project
from chatledger_billing import orders
from chatledger_billing.decisions import PlacedOrder
from chatledger_billing.intake import Accepted, RefusedRecord, WantedCancellation, read_batch
from chatledger_billing.orders import order_stream
from chatledger_billing.rules import RuleBroken, require
from chatledger_billing.settings import SERVICE
from chatledger_billing.store import BillingStore, tracking
from chatledger_billing.unit_of_work import UnitOfWork
from chatledger_billing.worker import Worker

CONFLICTS_MAX = 100
"""Each conflict means that another writer saved something; so many in a row mean that something else is wrong."""
CLIENT = "client"
"""The reason of an order that its client cancelled."""

_log = structlog.get_logger()


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
        """Handle one batch. Where nothing is to be decided, its position waits for more, or for `save_positions`."""
        batch = read_batch(records, self._projects)
        accepted, of_nothing = await self._with_orders(batch.accepted)
        refused = [*batch.refused, *of_nothing]
        await self._bury(refused)
        if accepted:
            positions, self._unsaved = {**self._unsaved, **batch.positions}, {}
            await self._save(accepted, positions)
            self._recorded()
        else:
            # Not before everything in the batch is done: `save_positions` may be called at any await.
            self._unsaved.update(batch.positions)
            if refused:
                await self.save_positions()
        metrics.HANDLED.labels(SERVICE).inc(len(records))

    async def save_positions(self) -> None:
        """Save the positions of batches in which nothing was to be done."""
        positions, self._unsaved = self._unsaved, {}
        if positions:
            await self._worker.run(self._record, [], positions)

    async def _with_orders(self, accepted: list[Accepted]) -> tuple[list[Accepted], list[RefusedRecord]]:
        """Part those whose order is there, or comes in this batch, from cancellations of nothing."""
        if all(isinstance(each.wanted, PlacedOrder) for each in accepted):
            return accepted, []
        return await self._worker.run(self._part, accepted)

    def _part(self, accepted: list[Accepted]) -> tuple[list[Accepted], list[RefusedRecord]]:
        work = self._new_work(accepted)
        passed, refused = [], []
        for each in accepted:
            try:
                _decide(work, each)
                passed.append(each)
            except RuleBroken as wrong:
                refused.append(RefusedRecord(record=each.record, reason=str(wrong), cause=each.envelope))
        return passed, refused

    async def _save(self, accepted: Sequence[Accepted], positions: Mapping[TopicPartition, int]) -> None:
        try:
            new = await self._worker.run(self._record, accepted, positions)
        except DataError:
            # Postgres refuses something of some order: find which, and let the others pass.
            new = await self._save_one_by_one(accepted)
            await self._worker.run(self._record, [], positions)
        metrics.DUPLICATES.labels(SERVICE).inc(len(accepted) - len(new))
        for each in accepted:
            if each.envelope.id in new:
                _log.info(
                    _LOGGED[type(each.wanted)], order=_order_id(each), correlation_id=each.envelope.correlation_id
                )

    async def _save_one_by_one(self, accepted: Sequence[Accepted]) -> set[str]:
        new: set[str] = set()
        for each in accepted:
            try:
                new |= await self._worker.run(self._record, [each], {})
            except DataError as wrong:
                reason = f"Postgres refuses it: {type(wrong.__cause__).__name__}"
                await self._bury([RefusedRecord(record=each.record, reason=reason, cause=each.envelope)])
            except RuleBroken as wrong:
                # Its order was one of those that Postgres refuses.
                await self._bury([RefusedRecord(record=each.record, reason=str(wrong), cause=each.envelope)])
        return new

    async def _bury(self, refused: Sequence[RefusedRecord]) -> None:
        if not refused:
            return
        now = self._clock.now()
        letters = [
            dead_letter(
                each.record, each.reason, service=SERVICE, incarnation=self._incarnation, now=now, cause=each.cause
            )
            for each in refused
        ]
        await self._publisher.publish(topics.DEAD, letters)
        metrics.DEAD_LETTERS.labels(SERVICE).inc(len(letters))
        for each, letter in zip(refused, letters, strict=True):
            _log.warning(
                "record.dead_lettered",
                reason=each.reason,
                topic=each.record.topic,
                partition=each.record.partition,
                offset=each.record.offset,
                correlation_id=letter.correlation_id,
            )

    def _record(self, accepted: Sequence[Accepted], positions: Mapping[TopicPartition, int]) -> set[str]:
        """Save in one transaction, in the worker's thread; return the ids of the events that changed something."""
        for _ in range(CONFLICTS_MAX):
            work = self._new_work(accepted)
            new = {each.envelope.id for each in accepted if _decide(work, each)}
            trackings = [tracking(self._incarnation, each, offset) for each, offset in positions.items()]
            if not new and not trackings:
                return set()
            try:
                self._store.record(work.complete(), trackings)
                return new
            except IntegrityError:
                positions = self._still_ahead(positions)
        raise InvariantViolated(f"a batch was refused {CONFLICTS_MAX} times as if another writer had been first")

    def _new_work(self, accepted: Sequence[Accepted]) -> UnitOfWork:
        new_orders = [each.wanted.order.id for each in accepted if isinstance(each.wanted, PlacedOrder)]
        return UnitOfWork(self._store, new_orders=new_orders)

    def _still_ahead(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Leave out positions that another worker has reached: ours must not move it back."""
        return {
            partition: offset
            for partition, offset in positions.items()
            if (self._store.next_offset(self._incarnation, partition) or 0) < offset
        }


_LOGGED = {PlacedOrder: "order.recorded", WantedCancellation: "cancellation.decided"}


def _order_id(accepted: Accepted) -> str:
    wanted = accepted.wanted
    return wanted.order.id if isinstance(wanted, PlacedOrder) else wanted.order_id


def _decide(work: UnitOfWork, accepted: Accepted) -> bool:
    """Decide one, and return whether that changed anything. Raises RuleBroken for a cancellation of nothing."""
    wanted = accepted.wanted
    if isinstance(wanted, PlacedOrder):
        return work.place(wanted)
    order, stream = work.order(wanted.order_id), order_stream(wanted.order_id)
    is_theirs = work.stream(stream)[0].cause.conversation == wanted.cause.conversation
    require(is_theirs, f"there is no order {wanted.order_id!r} in this conversation")
    if work.is_handled(stream, wanted.cause):
        return False
    try:
        work.cancel(order, wanted.cause, CLIENT)
    except RuleBroken as rule:
        work.add(stream, wanted.cause, orders.refuse_cancellation(order, str(rule)))
    return True
