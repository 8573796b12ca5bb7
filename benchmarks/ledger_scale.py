"""What an event costs as the ledger grows, from 50 thousand to 5 million events: recording it, reading it, finding it.

Everything goes in through the recorder's append. At each size it prints what the last batches took, what stretches from
all over the ledger take to read, decoded, and what the state of one conversation takes. In the end the large ledger
and a new one of 50 thousand events, on the same server, are appended to and read in turns, so that whatever else the
machine does meets both alike: `ledger_scale_append` and `ledger_scale_read`, where 1.25 is a quarter more. It takes up
to 8 GB in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import psycopg
import uvloop

from benchmarks.ledger import new_ledger
from benchmarks.ledger_history import EVENTS_PER_CONVERSATION, batches, client_of, records
from benchmarks.report import report
from chatledger.ports import ConsumedRecord, Selection
from chatledger.replay import state_of
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.ledger import conversation_of
from tests.support.postgres import fresh_database, temporary_postgres

EVENTS_PER_BATCH = 500
SIZES = (50_000, 250_000, 1_000_000, 2_500_000, 5_000_000)
APPENDED_MAX = 250_000
"""So many events before each size, or as many as there are, are what its cost of appending is taken from."""
STRETCHES = 20
EVENTS_READ = 50_000
STATES = 101
WARM_UP_EVENTS = 400_000
"""They touch the server's buffers for the first time, which the operating system takes its time for."""
ROUNDS = 15
BATCHES_PER_ROUND = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one event costs at one size of the ledger."""

    events: int
    append_us: float
    append_us_median_batch: float
    read_us: float
    state_ms: float
    disk_bytes: float


class GrowingLedger:
    """A ledger in a database of its own, and the history that goes into it."""

    def __init__(self, ledger: PostgresLedger, url: str) -> None:
        self._ledger = ledger
        self._url = url
        self._history: Iterator[list[ConsumedRecord]] = batches(records(), EVENTS_PER_BATCH)
        self.events = 0

    async def append(self, events: int) -> list[float]:
        """Append so many events; return what each batch took, in seconds."""
        seconds = []
        for batch in islice(self._history, events // EVENTS_PER_BATCH):
            started_at = time.perf_counter()
            await self._ledger.append(batch)
            seconds.append(time.perf_counter() - started_at)
        self.events += len(seconds) * EVENTS_PER_BATCH
        return seconds

    async def read(self, events: int) -> float:
        """Read so many events, in stretches from all over the ledger; return the cost of one in µs."""
        length, seconds = events // STRETCHES, 0.0
        last = await self._ledger.last_position()
        for number in range(STRETCHES):
            after, found = number * last // STRETCHES, 0
            started_at = time.perf_counter()
            async for _ in self._ledger.read(Selection(after=after, until_position=after + length)):
                found += 1
            seconds += time.perf_counter() - started_at
            assert found == length
        return seconds / events * 1e6

    async def states(self) -> float:
        """Return the median time in ms to tell one conversation's state, each of another client."""
        clients, seconds = self.events // EVENTS_PER_CONVERSATION, []
        for number in range(STATES):
            conversation = conversation_of(client_of(number * (clients // STATES)))
            started_at = time.perf_counter()
            known = await state_of(self._ledger, conversation)
            seconds.append(time.perf_counter() - started_at)
            assert known.last_event is not None
        return statistics.median(seconds) * 1e3

    def disk_bytes(self) -> float:
        """Return what an event takes up on the disk, indexes included."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute("SELECT pg_total_relation_size('ledger.events')").fetchone()
        assert row is not None
        return float(row[0]) / self.events

    async def grow(self, size: int) -> Cost:
        """Append up to that size; return what an event costs there."""
        measured = min(size - self.events, APPENDED_MAX)
        await self.append(size - self.events - measured)
        seconds = await self.append(measured)
        return Cost(
            events=self.events,
            append_us=sum(seconds) / measured * 1e6,
            append_us_median_batch=statistics.median(seconds) / EVENTS_PER_BATCH * 1e6,
            read_us=await self.read(EVENTS_READ),
            state_ms=await self.states(),
            disk_bytes=self.disk_bytes(),
        )


async def measure(sizes: tuple[int, ...]) -> None:
    with temporary_postgres() as server:
        with fresh_database(server) as url:
            async with new_ledger(url) as ledger:
                await GrowingLedger(ledger, url).append(WARM_UP_EVENTS)
        with fresh_database(server) as url, fresh_database(server) as small_url:
            async with new_ledger(url) as ledger, new_ledger(small_url) as small_ledger:
                large, small = GrowingLedger(ledger, url), GrowingLedger(small_ledger, small_url)
                for size in sizes:
                    cost = await large.grow(size)
                    print(json.dumps({name: round(value, 2) for name, value in asdict(cost).items()}), flush=True)
                await small.grow(sizes[0])
                await _compare(large, small)


async def _compare(large: GrowingLedger, small: GrowingLedger) -> None:
    names = f"µs per event at {large.events:,}", f"ours at {small.events:,} events"
    appended: tuple[list[float], list[float]] = [], []
    read: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for each, seconds in zip((large, small), appended, strict=True):
            seconds += await each.append(BATCHES_PER_ROUND * EVENTS_PER_BATCH)
    for _ in range(ROUNDS):
        for each, costs_us in zip((large, small), read, strict=True):
            costs_us.append(await each.read(EVENTS_READ))
    costs = [statistics.mean(each) / EVENTS_PER_BATCH * 1e6 for each in appended]
    report("ledger_scale_append", names[0], costs[0], costs[1], names[1])
    report("ledger_scale_read", names[0], statistics.median(read[0]), statistics.median(read[1]), names[1])


def run(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each size, then ledger_scale_append and ledger_scale_read."""
    uvloop.run(measure(sizes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=SIZES[-1], help="grow the ledger up to this size (5000000)")
    chosen = parser.parse_args()
    run((*(size for size in SIZES if size < chosen.events), chosen.events))
