"""A process that bills one partition, record by record, from where its position stands: for tests that kill it.

`python -m tests.services.billing_worker URL PARTITION CLIENTS` prints `handled OFFSET` after each record.
"""

from __future__ import annotations

import asyncio
import sys

from chatledger import topics
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger_billing.store import postgres_store
from tests.services.billing_given import RememberedPublisher, billing_on, cancellation, cause, placed, record


def records_of(partition: int, clients: int) -> list[ConsumedRecord]:
    """An order of each client, and the wish of every second one to cancel it."""
    events = []
    for client in range(partition * 1_000, partition * 1_000 + clients):
        events.append(cause(placed(client), client))
        if client % 2:
            events.append(cause(cancellation(client), client))
    return [record(event, offset, partition) for offset, event in enumerate(events)]


async def work(url: str, partition: int, clients: int) -> None:
    """Handle what is not handled yet."""
    here = TopicPartition(topics.DIALOG, partition)
    with billing_on(postgres_store(url), RememberedPublisher()) as billing:
        position = (await billing.positions.load([here])).get(here, 0)
        for each in records_of(partition, clients)[position:]:
            await billing.biller.handle([each])
            print(f"handled {each.offset}", flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
