"""The port PositionStore over the event store's tracking table."""

from __future__ import annotations

from collections.abc import Sequence

from chatledger.ports import Positions, TopicPartition
from chatledger_billing.store import BillingStore
from chatledger_billing.worker import Worker


class TrackedPositions:
    """How far the aggregates have come, in one incarnation of the broker."""

    def __init__(self, store: BillingStore, worker: Worker, *, incarnation: str) -> None:
        self._store, self._worker, self._incarnation = store, worker, incarnation

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions`; one that was never read is absent."""
        return await self._worker.run(self._load, partitions)

    def _load(self, partitions: Sequence[TopicPartition]) -> Positions:
        found = {partition: self._store.next_offset(self._incarnation, partition) for partition in partitions}
        return {partition: offset for partition, offset in found.items() if offset is not None}
