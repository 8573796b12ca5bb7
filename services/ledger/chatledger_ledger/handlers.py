"""What the recorder does with a batch: append it, and count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatledger import metrics
from chatledger.adapters.ledger_records import SERVICE
from chatledger.ports import ConsumedRecord, Ledger, TopicPartition


async def record(batch: Sequence[ConsumedRecord], ledger: Ledger) -> None:
    """Append a batch to the ledger."""
    appended = await ledger.append(batch)
    metrics.HANDLED.labels(SERVICE).inc(len(batch))
    metrics.DUPLICATES.labels(SERVICE).inc(appended.duplicates)


def show_lag(lags: Mapping[TopicPartition, int]) -> None:
    """Put the lag of each partition where Prometheus finds it."""
    for partition, records in lags.items():
        metrics.LAG.labels(SERVICE, partition.topic, str(partition.partition)).set(records)
