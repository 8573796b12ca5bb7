"""Appending to Postgres in one go: batches of many chunks, with what is no event among what is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatledger import metrics
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import Appended
from chatledger_ledger.postgres_ledger import CHUNK_RECORDS
from tests.support.ledger import as_records, history, open_ledger

pytestmark = pytest.mark.postgres


async def test_a_batch_of_many_chunks_keeps_its_order_with_its_dead_letters_in_their_places(postgres_url):
    placed = [pair for client in range(10) for pair in history(str(client))]
    records = as_records(placed)
    assert len(records) > 4 * CHUNK_RECORDS
    broken = {0, 1, CHUNK_RECORDS - 1, CHUNK_RECORDS, 3 * CHUNK_RECORDS + 7, len(records) - 1}
    batch = [replace(each, headers=()) if number in broken else each for number, each in enumerate(records)]
    counter = metrics.DEAD_LETTERS.labels("ledger")
    before = counter._value.get()
    async with open_ledger(postgres_url) as ledger:
        assert await ledger.append(batch) == Appended(recorded=len(batch), duplicates=0)
        events = [event async for event in ledger.read()]
        assert await ledger.append(batch) == Appended(recorded=0, duplicates=len(batch))
    assert counter._value.get() - before == len(broken)
    for number, (event, (_, envelope)) in enumerate(zip(events, placed, strict=True)):
        if number in broken:
            assert isinstance(event.envelope.data, RecordDeadLettered)
            assert event.envelope.data.offset == number
        else:
            assert event.envelope == envelope


async def test_nothing_new_is_no_error(postgres_url):
    records = as_records(history("77"))
    async with open_ledger(postgres_url) as ledger:
        assert await ledger.append([]) == Appended(recorded=0, duplicates=0)
        await ledger.append(records)
        for _ in range(2):  # straight, and after a batch of duplicates with care
            assert await ledger.append(records[:3]) == Appended(recorded=0, duplicates=3)
