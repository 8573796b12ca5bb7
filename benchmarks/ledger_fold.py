"""A ledger of a million events: folded whole, and asked for one conversation as it was at a moment.

`ledger_fold` is the rate at which all conversations are folded, beside the naive way: one cursor over the table, JSON
as the driver gives it, and the same fold. `ledger_fold_s` is what a process of its own takes for all of it, its start
included; two run at a time, with different hash seeds, and must end with the hash of the first fold.

`ledger_state_at` is one conversation at a position, `ledger_state_at_time` at a time, beside the library
`eventsourcing` selecting and decoding the same stream up to a version, without folding it. `ledger_state_at_first` is
the first such call of a new connection.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable
from itertools import islice

import orjson
import psycopg
import uvloop
from eventsourcing.utils import get_topic
from psycopg.rows import dict_row

from benchmarks.ledger import new_ledger
from benchmarks.ledger_history import CONVERSATIONS_AT_A_TIME, EVENTS_PER_CONVERSATION, batches, client_of, records
from benchmarks.ledger_peers import EventsourcingPeer, Recorded
from benchmarks.report import report
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.events.codec import decode_data
from chatledger.events.envelope import Envelope
from chatledger.ports import LedgerEvent, Selection
from chatledger.replay import States, fold_into, fold_ledger, state_hash, state_of
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from tests.support.ledger import conversation_of
from tests.support.postgres import fresh_database, temporary_postgres

EVENTS = 1_000_000
EVENTS_PER_BATCH = 500
NAIVE_EVENTS = 200_000
"""The naive way is slow, and no slower at the end than in the beginning."""
STATES = 301
FIRST_CALLS = 5

FILL_PEER = """
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT stream, row_number() OVER (PARTITION BY stream ORDER BY position), %(topic)s,
       convert_to(jsonb_build_object(
           'id', id, 'type', type, 'data', data, 'metadata', metadata,
           'timestamp', jsonb_build_object('_type_', 'datetime_iso', '_data_', to_jsonb(occurred_at))
       )::text, 'UTF8')
FROM ledger.events
ORDER BY position
"""


async def measure(events: int) -> None:
    with temporary_postgres() as server, fresh_database(server) as url:
        async with new_ledger(url) as ledger:
            for batch in islice(batches(records(), EVENTS_PER_BATCH), events // EVENTS_PER_BATCH):
                await ledger.append(batch)
            await _fold(ledger, url, events)
            await _state_at(ledger, url, events)


async def _fold(ledger: PostgresLedger, url: str, events: int) -> None:
    started_at = time.perf_counter()
    states = await fold_ledger(ledger.read())
    ours = events / (time.perf_counter() - started_at)
    naive_events = min(events, NAIVE_EVENTS)
    started_at = time.perf_counter()
    naive_states = _fold_naively(url, naive_events)
    naive = naive_events / (time.perf_counter() - started_at)
    assert naive_states == await fold_ledger(ledger.read(Selection(until_position=naive_events)))
    report("ledger_fold", "events/s", ours, naive, "the naive way: one cursor, its JSON, the same fold")
    started_at = time.perf_counter()
    hashes = await asyncio.gather(*(_fold_in_a_process(url, events, seed) for seed in ("1", "2")))
    seconds = time.perf_counter() - started_at
    assert hashes == [state_hash(states)] * 2
    report("ledger_fold_s", f"s for {events:,} events, two processes at a time, all of it each", seconds, None, None)


async def _fold_in_a_process(url: str, until_position: int, seed: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chatledger_ledger.fold_hash",
        str(until_position),
        env={**os.environ, "CHATLEDGER_DATABASE": url, "PYTHONHASHSEED": seed},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    return printed.decode().strip()


def _fold_naively(url: str, events: int) -> States:
    states: States = {}
    with psycopg.connect(url) as connection, connection.cursor("naive", row_factory=dict_row) as cursor:
        cursor.execute("SELECT * FROM ledger.events WHERE position <= %s ORDER BY position", [events])
        for row in cursor:
            metadata = row["metadata"]
            envelope = Envelope(
                id=str(row["id"]),
                source=metadata["source"],
                conversation=metadata["conversation"],
                time=row["occurred_at"],
                stream=row["stream"],
                stream_version=row["version"],
                correlation_id=metadata["correlationid"],
                causation_id=metadata["causationid"],
                traceparent=metadata["traceparent"],
                data=decode_data(row["type"], metadata["schemaversion"], orjson.dumps(row["data"])),
            )
            fold_into(states, envelope)
    return states


async def _state_at(ledger: PostgresLedger, url: str, events: int) -> None:
    peer = EventsourcingPeer(url)
    with psycopg.connect(url) as connection:
        connection.execute(FILL_PEER, {"topic": get_topic(Recorded)})
    chosen = random.Random(1)
    whole = events // EVENTS_PER_CONVERSATION // CONVERSATIONS_AT_A_TIME * CONVERSATIONS_AT_A_TIME
    conversations = [conversation_of(client_of(chosen.randrange(whole))) for _ in range(STATES)]
    moments: list[LedgerEvent] = []
    for conversation in conversations:
        stream = ledger.read(Selection(stream=f"conversation-{conversation}"))
        moments.append([event async for event in stream][8])

    async def by_position(number: int) -> None:
        known = await state_of(ledger, conversations[number], until_position=moments[number].position)
        assert known.last_event == moments[number]

    async def by_time(number: int) -> None:
        known = await state_of(ledger, conversations[number], until_time=moments[number].recorded_at)
        assert known.last_event is not None

    async def by_peer(number: int) -> None:
        found = peer.recorder.select_events(f"conversation-{conversations[number]}", lte=9)
        assert len(peer.decoded(found)) == 9

    times_ms: dict[str, list[float]] = {each.__name__: [] for each in (by_position, by_time, by_peer)}
    for number in range(STATES):
        for call in (by_position, by_time, by_peer):
            times_ms[call.__name__].append(await _ms(call(number)))
    ours, at_time, theirs = (statistics.median(each) for each in times_ms.values())
    name = f"{peer.name}: select_events and mapper, no fold"
    report("ledger_state_at", "ms", ours, theirs, name)
    report("ledger_state_at_time", "ms", at_time, theirs, name)
    first_ms = [await _first_call(url, conversations[number], moments[number]) for number in range(FIRST_CALLS)]
    report("ledger_state_at_first", "ms, the first call of a new connection", statistics.median(first_ms), None, None)
    peer.close()


async def _first_call(url: str, conversation: str, moment: LedgerEvent) -> float:
    pool = await open_pool(url, connections_max=1, role=ROLE)
    try:
        reader = PostgresLedgerReader(pool)
        return await _ms(state_of(reader, conversation, until_position=moment.position))
    finally:
        await pool.close()


async def _ms(call: Awaitable[object]) -> float:
    started_at = time.perf_counter()
    await call
    return (time.perf_counter() - started_at) * 1000


def run(events: int = EVENTS) -> None:
    """Print ledger_fold, ledger_fold_s, and the three lines of ledger_state_at."""
    uvloop.run(measure(events))


if __name__ == "__main__":
    run()
