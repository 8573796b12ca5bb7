"""The ledger beside other event stores on the same Postgres server: appending, and reading in order.

`ledger_append` puts batches of 500 events into each store in turns, with all indexes, each batch in one transaction
that is on the disk when it returns. `ledger_read` reads all of it and makes event objects; `ledger_read_rows` only
fetches what was stored. All of them get the same events. `ledger_event_bytes` says how large these are as JSON, and
`ledger_disk_bytes` what they take up with their indexes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import islice

import psycopg
import uvloop

from benchmarks.ledger_history import batches, records
from benchmarks.ledger_peers import EmmettPeer, EventsourcingPeer, emmett_batches, why_emmett_cannot_run
from benchmarks.report import report
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.ledger_records import ledger_record
from chatledger.adapters.postgres import migrate, open_pool
from chatledger.ports import ConsumedRecord
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from tests.support.postgres import fresh_database, temporary_postgres

EVENTS_PER_BATCH = 500
BATCHES_PER_ROUND = 20
APPEND_ROUNDS = 9
READ_ROUNDS = 7
PEER_EVENTS_PER_PAGE = 1_000
"""The peer is fastest with pages of this size, as we are."""

Turn = Callable[[], Awaitable[float]]


@asynccontextmanager
async def new_ledger(url: str) -> AsyncIterator[PostgresLedger]:
    """The ledger in that empty database, as the recorder's process has it."""
    await migrate(url, schema="ledger", package="chatledger_ledger")
    pool = await open_pool(url, role=ROLE)
    try:
        yield PostgresLedger(pool, incarnation="benchmark", clock=SystemClock())
    finally:
        await pool.close()


async def in_turns(contestants: Mapping[str, Turn], rounds: int) -> dict[str, float]:
    """Let each have its turn, round by round; return the median of each one's rates, in events/s."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, turn in contestants.items():
            rates[name].append(await turn())
    return {name: statistics.median(found) for name, found in rates.items()}


async def measure() -> None:
    with (
        temporary_postgres() as server,
        fresh_database(server) as our_url,
        fresh_database(server) as eventsourcing_url,
        fresh_database(server) as emmett_url,
    ):
        rounds = 1 + APPEND_ROUNDS
        history = list(islice(batches(records(), EVENTS_PER_BATCH), rounds * BATCHES_PER_ROUND))
        peer = EventsourcingPeer(eventsourcing_url)
        try:
            async with new_ledger(our_url) as ledger:
                await _append(ledger, peer, emmett_url, history)
                _sizes(our_url, eventsourcing_url, peer, history)
                await _read(ledger, peer)
        finally:
            peer.close()


async def _append(
    ledger: PostgresLedger, peer: EventsourcingPeer, emmett_url: str, history: list[list[ConsumedRecord]]
) -> None:
    events = BATCHES_PER_ROUND * EVENTS_PER_BATCH
    ours, theirs = iter(history), iter([peer.prepared(batch) for batch in history])

    async def append_ours() -> float:
        taken = list(islice(ours, BATCHES_PER_ROUND))
        started_at = time.perf_counter()
        for batch in taken:
            await ledger.append(batch)
        return events / (time.perf_counter() - started_at)

    async def append_theirs() -> float:
        taken = list(islice(theirs, BATCHES_PER_ROUND))
        started_at = time.perf_counter()
        for batch in taken:
            peer.append(batch)
        return events / (time.perf_counter() - started_at)

    contestants: dict[str, Turn] = {"ours": append_ours, peer.name: append_theirs}
    missing = why_emmett_cannot_run()
    if missing:
        rates = await _warmed_up(contestants)
    else:
        with emmett_batches(history) as file:
            emmett = EmmettPeer(emmett_url, file)

            async def append_emmett() -> float:
                return events / emmett.append(BATCHES_PER_ROUND)

            rates = await _warmed_up({**contestants, emmett.name: append_emmett})
            emmett.close()
    our_rate = rates.pop("ours")
    for name, rate in sorted(rates.items(), key=lambda each: each[1]):
        report("ledger_append", "events/s", our_rate, rate, f"{name} ({missing})" if missing else name)


async def _warmed_up(contestants: Mapping[str, Turn]) -> dict[str, float]:
    await in_turns(contestants, rounds=1)
    return await in_turns(contestants, APPEND_ROUNDS)


def _sizes(our_url: str, peer_url: str, peer: EventsourcingPeer, history: list[list[ConsumedRecord]]) -> None:
    kept = [ledger_record(record) for record in history[0]]
    ours = statistics.mean(len(each.data) + len(each.metadata) for each in kept)
    theirs = statistics.mean(len(each.state) for each in peer.prepared(history[0]))
    report("ledger_event_bytes", "bytes of JSON per event", ours, theirs, peer.name)
    events = sum(map(len, history))
    on_disk = [_disk_bytes(our_url, "ledger.events"), _disk_bytes(peer_url, "stored_events")]
    report("ledger_disk_bytes", "bytes on disk per event", on_disk[0] / events, on_disk[1] / events, peer.name)


def _disk_bytes(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchone()
    assert row is not None
    return int(row[0])


async def _read(ledger: PostgresLedger, peer: EventsourcingPeer) -> None:
    async def our_events() -> float:
        events, started_at = 0, time.perf_counter()
        async for _ in ledger.read():
            events += 1
        return events / (time.perf_counter() - started_at)

    async def their_events() -> float:
        events, started_at = 0, time.perf_counter()
        for page in peer.pages(PEER_EVENTS_PER_PAGE):
            events += len(peer.decoded(page))
        return events / (time.perf_counter() - started_at)

    async def our_rows() -> float:
        events, started_at = 0, time.perf_counter()
        async for _ in ledger.records():
            events += 1
        return events / (time.perf_counter() - started_at)

    async def their_rows() -> float:
        started_at = time.perf_counter()
        events = sum(map(len, peer.pages(PEER_EVENTS_PER_PAGE)))
        return events / (time.perf_counter() - started_at)

    rates = await in_turns({"ours": our_events, "theirs": their_events}, READ_ROUNDS)
    report("ledger_read", "events/s", rates["ours"], rates["theirs"], f"{peer.name}: select_notifications and mapper")
    rates = await in_turns({"ours": our_rows, "theirs": their_rows}, READ_ROUNDS)
    report("ledger_read_rows", "rows/s", rates["ours"], rates["theirs"], f"{peer.name}: select_notifications")


def run() -> None:
    """Print ledger_append, ledger_event_bytes, ledger_disk_bytes, ledger_read and ledger_read_rows."""
    uvloop.run(measure())


if __name__ == "__main__":
    run()
