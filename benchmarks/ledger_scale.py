"""What an event costs as the ledger grows, from 50 thousand to 5 million events: recording it, reading it, finding it.

Everything goes in through the recorder's append. At each size it prints what the last batches took, what stretches from
all over the ledger take to read, decoded, for the first time, and what the state of one conversation takes. The lines at
the end compare the largest ledger with the smallest: cost by cost, so a ratio of 1.25 is a quarter more.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import psycopg
import uvloop

from benchmarks.ledger import new_ledger
from benchmarks.ledger_history import batches, client_of, records
from benchmarks.report import report
from chatledger.ports import ConsumedRecord, Selection
from chatledger.replay import state_of
from chatledger_ledger.postgres_ledger import PostgresLedger
from tests.support.ledger import conversation_of
from tests.support.postgres import fresh_database, temporary_postgres

EVENTS_PER_BATCH = 500
SIZES = (50_000, 250_000, 1_000_000, 2_500_000, 5_000_000)
APPENDED_MEASURED_MAX = 250_000
"""So many events before each size, or as many as there are, are what its cost of appending is taken from."""
STRETCHES = 20
EVENTS_READ = 50_000
STATES = 101
WARM_UP_EVENTS = 400_000
"""They touch all of the server's buffers for the first time, which the operating system takes its time for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one event costs at one size of the ledger."""

    events: int
    append_us: float
    append_us_median_batch: float
    read_us: float
    state_ms: float
    disk_bytes: float


async def measure(sizes: tuple[int, ...]) -> list[Cost]:
    with temporary_postgres() as server:
        with fresh_database(server) as url:
            async with new_ledger(url) as ledger:
                await _append(ledger, batches(records(), EVENTS_PER_BATCH), WARM_UP_EVENTS)
        with fresh_database(server) as url:
            async with new_ledger(url) as ledger:
                return await _grow(ledger, url, sizes)


async def _grow(ledger: PostgresLedger, url: str, sizes: tuple[int, ...]) -> list[Cost]:
    history = batches(records(), EVENTS_PER_BATCH)
    costs: list[Cost] = []
    events = 0
    for size in sizes:
        measured = min(size - events, APPENDED_MEASURED_MAX)
        await _append(ledger, history, size - events - measured)
        seconds = await _append(ledger, history, measured)
        events = size
        cost = Cost(
            events=size,
            append_us=sum(seconds) / measured * 1e6,
            append_us_median_batch=statistics.median(seconds) / EVENTS_PER_BATCH * 1e6,
            read_us=await _read(ledger, size),
            state_ms=await _states(ledger, size),
            disk_bytes=_disk_bytes(url) / size,
        )
        print(json.dumps({name: round(value, 2) for name, value in asdict(cost).items()}), flush=True)
        costs.append(cost)
    return costs


async def _append(ledger: PostgresLedger, history: Iterator[list[ConsumedRecord]], events: int) -> list[float]:
    """Append so many events; return what each batch took, in seconds."""
    seconds = []
    for batch in islice(history, events // EVENTS_PER_BATCH):
        started_at = time.perf_counter()
        await ledger.append(batch)
        seconds.append(time.perf_counter() - started_at)
    return seconds


async def _read(ledger: PostgresLedger, size: int) -> float:
    """Read stretches from all over the ledger; return the cost of an event in µs."""
    length, seconds = EVENTS_READ // STRETCHES, 0.0
    last = await ledger.last_position()
    for number in range(STRETCHES):
        after, events = number * last // STRETCHES, 0
        gc.collect()
        started_at = time.perf_counter()
        async for _ in ledger.read(Selection(after=after, until_position=after + length)):
            events += 1
        seconds += time.perf_counter() - started_at
        assert events == length
    return seconds / EVENTS_READ * 1e6


async def _states(ledger: PostgresLedger, size: int) -> float:
    """The median time in ms to tell one conversation's state, each of another client."""
    clients = size // 24
    seconds = []
    for number in range(STATES):
        started_at = time.perf_counter()
        known = await state_of(ledger, conversation_of(client_of(number * (clients // STATES))))
        seconds.append(time.perf_counter() - started_at)
        assert known.last_event is not None
    return statistics.median(seconds) * 1e3


def _disk_bytes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_total_relation_size('ledger.events')").fetchone()
    assert row is not None
    return int(row[0])


def run(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each size, then ledger_scale_append and ledger_scale_read."""
    costs = uvloop.run(measure(sizes))
    first, last = costs[0], costs[-1]
    name = f"ours at {first.events:,} events"
    report("ledger_scale_append", f"µs per event at {last.events:,}", last.append_us, first.append_us, name)
    report("ledger_scale_read", f"µs per event at {last.events:,}", last.read_us, first.read_us, name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=SIZES[-1], help="grow the ledger up to this size (5000000)")
    chosen = parser.parse_args()
    run(tuple(size for size in SIZES if size < chosen.events) + (chosen.events,))
