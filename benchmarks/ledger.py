"""The ledger on Postgres: what appending, reading and folding cost, and what a moment of one conversation costs.

`ledger` puts batches of 500 events into the ledger and into other event stores on the same Postgres server, in turns,
with all indexes and with fsync; then it reads all of it in order, decoded to event objects and as rows. `ledger_fold`
folds a million events, and asks for single conversations as they were at a moment. `ledger_scale` says what an event
costs from 50 thousand to 5 million events.

Every store gets the same events, and ours and the peers take turns. emmett needs Node and npm; it is left out without.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import cache, partial
from hashlib import md5
from itertools import count, islice
from pathlib import Path
from subprocess import PIPE
from time import perf_counter
from typing import Any
from uuid import UUID

import orjson
import psycopg
from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, Mapper, Notification, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.utils import get_topic
from psycopg.conninfo import conninfo_to_dict

from benchmarks.report import report
from chatledger.adapters.ledger_records import ledger_record
from chatledger.adapters.postgres import open_pool
from chatledger.ports import ConsumedRecord, Selection
from chatledger.replay import fold_ledger, state_hash
from chatledger_cli.kinds import CONVERSATION, KINDS
from chatledger_ledger.moments import Moment
from chatledger_ledger.postgres_ledger import ROLE, PostgresLedger
from chatledger_ledger.time_travel import TimeTravel
from tests.support.ledger import as_records, conversation_of, history, open_ledger
from tests.support.postgres import fresh_database, temporary_postgres

BATCH, COMPARED_BATCHES, COMPARED_ROUNDS = 500, 20, 9
FOLDED_EVENTS, MOMENTS = 1_000_000, 301
SIZES = (50_000, 250_000, 1_000_000, 2_500_000, 5_000_000)
SMALL_TURN_EVENTS, SCALE_TURNS, STRETCHES = 5_000, 20, 20
TOUCH_BUFFERS = (
    "CREATE TABLE touched (filler text)",
    "INSERT INTO touched SELECT repeat(md5(n::text), 25) FROM generate_series(1, 1300000) n",
    "DROP TABLE touched",
    "CHECKPOINT",
)
"""The operating system takes its time for a server's buffers when they are used for the first time."""

Batch = list[ConsumedRecord]
Turn = Callable[[], Awaitable[float]]
"""Does what is measured, and returns the figure."""

CLIENT = b"10000000"
CLIENTS_AT_A_TIME = 100
"""A client's events lie as far apart as in a shop's busy hour."""
ID_OR_CLIENT = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|" + CLIENT)
DIALOGUE = as_records(history(CLIENT.decode()))
"""A customer says five things, the flow decides, replies are sent, the order is billed."""


def batches() -> Iterator[Batch]:
    """An endless history in batches, as the recorder takes it in: that dialogue with one client after another."""
    records = _records()
    while True:
        yield list(islice(records, BATCH))


def _records() -> Iterator[ConsumedRecord]:
    offsets: dict[tuple[str, int], Iterator[int]] = defaultdict(count)
    for first in count(0, CLIENTS_AT_A_TIME):
        for step in zip(*(_dialogue_with(first + number) for number in range(CLIENTS_AT_A_TIME)), strict=True):
            for number, (topic, key, value, headers) in enumerate(step):
                partition = number % 4
                offset = next(offsets[topic, partition])
                yield ConsumedRecord(
                    topic=topic, partition=partition, offset=offset, key=key, value=value, headers=headers
                )


def _dialogue_with(number: int) -> list[tuple[str, bytes, bytes, tuple[tuple[str, bytes], ...]]]:
    """The dialogue's records with other ids, so that nothing but their length is as it was."""
    client = client_of(number).encode()

    @cache
    def other(found: bytes) -> bytes:
        return client if found == CLIENT else str(UUID(bytes=md5(found + client).digest())).encode()

    def renamed(value: bytes | None) -> bytes:
        return ID_OR_CLIENT.sub(lambda match: other(match.group()), value or b"")

    return [
        (each.topic, renamed(each.key), renamed(each.value), tuple((name, renamed(has)) for name, has in each.headers))
        for each in DIALOGUE
    ]


def client_of(number: int) -> str:
    """The id of the client of that number; as long as any other's."""
    return str(int(CLIENT) + number)


class Recorded:
    """A domain event of `eventsourcing`: its mapper puts whatever was stored into the object's attributes."""

    originator_id: str
    originator_version: int


class Eventsourcing:
    """The library `eventsourcing` with its Postgres recorder, as its applications use it: text ids, JSON, no cipher."""

    name = "eventsourcing"

    def __init__(self, url: str) -> None:
        at = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self.store = PostgresDatastore(
            at["dbname"], at["host"], at["port"], at["user"], at["password"], originator_id_type="text"
        )
        self.recorder = PostgresApplicationRecorder(self.store)
        self.recorder.create_table()
        transcoder = JSONTranscoder()
        transcoder.register(DatetimeAsISO())
        self._mapper: Mapper[str] = Mapper(transcoder)
        self._versions: dict[str, int] = defaultdict(int)

    def stored(self, record: ConsumedRecord) -> StoredEvent:
        """What the library's mapper would make of the event; not a part of what is measured."""
        kept = ledger_record(record)
        self._versions[kept.stream] += 1
        state = {
            "id": kept.id,
            "type": kept.type,
            "timestamp": {"_type_": "datetime_iso", "_data_": kept.occurred_at.isoformat()},
            "metadata": orjson.Fragment(kept.metadata),
            "data": orjson.Fragment(kept.data),
        }
        return StoredEvent(kept.stream, self._versions[kept.stream], get_topic(Recorded), orjson.dumps(state))

    def pages(self) -> Iterator[Sequence[Notification]]:
        """The whole log, in pages of the size at which it is fastest."""
        start = 1
        while page := self.recorder.select_notifications(start, 1_000):
            yield page
            start = page[-1].id + 1

    def decoded(self, events: Sequence[StoredEvent]) -> list[Any]:
        return [self._mapper.to_domain_event(event) for event in events]


class Emmett:
    """emmett-postgresql in a Node process, which reads its batches before it begins, and says what appending took."""

    here = Path(__file__).parent / "emmett"
    installed = Path(__file__).parents[1] / "build" / "benchmarks-emmett"
    name = "emmett-postgresql"

    @classmethod
    def is_installed(cls) -> bool:
        """Install it, and say why where that cannot be done: the other comparisons need no Node."""
        shutil.copytree(cls.here, cls.installed, dirs_exist_ok=True)
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(install, cwd=cls.installed, timeout=300, check=True)
        except (OSError, subprocess.SubprocessError) as why:
            print(f"ledger_append: without emmett: {why}", file=sys.stderr)
            return False
        return True

    def __init__(self, url: str, history: Sequence[Batch]) -> None:
        with tempfile.NamedTemporaryFile(suffix=".ndjson") as file:
            file.writelines(self._line(batch) for batch in history)
            file.flush()
            node = ["node", "append.mjs", url, file.name]
            self._process = subprocess.Popen(node, bufsize=0, cwd=self.installed, stdin=PIPE, stdout=PIPE)
            self._answer()

    def append_us(self, count: int) -> float:
        """Append so many batches; return the cost of an event in µs."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % count)
        return float(self._answer()) / (count * BATCH) * 1e6

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError(f"emmett ended with exit code {self._process.wait()}")

    @staticmethod
    def _line(batch: Batch) -> bytes:
        events = [
            {"type": each.type, "data": orjson.Fragment(each.data), "metadata": orjson.Fragment(each.metadata)}
            for each in map(ledger_record, batch)
        ]
        return orjson.dumps(events) + b"\n"


async def in_turns(
    turns: dict[str, Turn], rounds: int, middle: Callable[[list[float]], float] = statistics.median
) -> dict[str, float]:
    """Let each have its turn, round by round, the first to warm up; return the middle of each one's figures."""
    figures: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(1 + rounds):
        for name, turn in turns.items():
            figures[name].append(await turn())
    return {name: middle(found[1:]) for name, found in figures.items()}


async def compare() -> None:
    """Print ledger_append, once for each peer, ledger_read and ledger_read_rows."""
    work = list(islice(batches(), (1 + COMPARED_ROUNDS) * COMPARED_BATCHES))
    with (
        temporary_postgres() as server,
        fresh_database(server) as url,
        fresh_database(server) as peer_url,
        fresh_database(server) as emmett_url,
    ):
        peer, emmett = Eventsourcing(peer_url), Emmett(emmett_url, work) if Emmett.is_installed() else None
        async with open_ledger(url) as ledger:
            await _appending(ledger, peer, emmett, work)
            await _reading(ledger, peer)
        peer.store.close()


async def _appending(ledger: PostgresLedger, peer: Eventsourcing, emmett: Emmett | None, work: list[Batch]) -> None:
    events = COMPARED_BATCHES * BATCH
    ours, theirs = iter(work), iter([[peer.stored(record) for record in batch] for batch in work])

    async def append_to_peer() -> float:
        turn = list(islice(theirs, COMPARED_BATCHES))
        started_at = perf_counter()
        for batch in turn:
            peer.recorder.insert_events(batch)
        return (perf_counter() - started_at) / events * 1e6

    turns: dict[str, Turn] = {"ours": lambda: append_us(ledger, ours, events), peer.name: append_to_peer}
    if emmett is not None:
        turns[emmett.name] = partial(asyncio.to_thread, emmett.append_us, COMPARED_BATCHES)
    us = await in_turns(turns, COMPARED_ROUNDS)
    for name in list(turns)[1:]:
        report("ledger_append", "events/s", 1e6 / us["ours"], 1e6 / us[name], name)
    if emmett is not None:
        emmett.close()


async def _reading(ledger: PostgresLedger, peer: Eventsourcing) -> None:
    async def ours(rows: AsyncIterator[object]) -> float:
        started_at = perf_counter()
        return sum([1 async for _ in rows]) / (perf_counter() - started_at)

    async def theirs(take: Callable[[Sequence[Notification]], list[Any]]) -> float:
        started_at = perf_counter()
        return sum(len(take(page)) for page in peer.pages()) / (perf_counter() - started_at)

    turns: dict[str, Turn] = {"ours": lambda: ours(ledger.read()), "peer": lambda: theirs(peer.decoded)}
    rates = await in_turns(turns, COMPARED_ROUNDS)
    report("ledger_read", "events/s", rates["ours"], rates["peer"], f"{peer.name}: select_notifications and mapper")
    turns = {"ours": lambda: ours(ledger.records()), "peer": lambda: theirs(list)}
    rates = await in_turns(turns, COMPARED_ROUNDS)
    report("ledger_read_rows", "rows/s", rates["ours"], rates["peer"], f"{peer.name}: select_notifications")


async def fold() -> None:
    """Print ledger_fold, ledger_fold_s and ledger_state_at."""
    with temporary_postgres() as server, fresh_database(server) as url, fresh_database(server) as peer_url:
        peer = Eventsourcing(peer_url)
        async with open_ledger(url) as ledger:
            for batch in islice(batches(), FOLDED_EVENTS // BATCH):
                await ledger.append(batch)
                peer.recorder.insert_events([peer.stored(record) for record in batch])
            await _fold_all(ledger, url, peer)
            await _ask_for_moments(ledger, url, peer)
        peer.store.close()


async def _fold_all(ledger: PostgresLedger, url: str, peer: Eventsourcing) -> None:
    started_at = perf_counter()
    states = await fold_ledger(ledger.read())
    ours = FOLDED_EVENTS / (perf_counter() - started_at)
    started_at = perf_counter()
    theirs = sum(len(peer.decoded(page)) for page in peer.pages()) / (perf_counter() - started_at)
    report("ledger_fold", "events/s", ours, theirs, f"{peer.name}: only decoded, not folded")
    started_at = perf_counter()
    hashes = await asyncio.gather(*(asyncio.to_thread(_fold_in_a_process, url, seed) for seed in ("1", "2")))
    seconds = perf_counter() - started_at
    assert hashes == [state_hash(states)] * 2
    unit = f"s for {FOLDED_EVENTS:,} events, all of them in each of two processes at a time"
    report("ledger_fold_s", unit, seconds, None, None)


def _fold_in_a_process(url: str, hash_seed: str) -> str:
    fold_hash = [sys.executable, "-m", "chatledger_ledger.fold_hash", str(FOLDED_EVENTS)]
    environment = {**os.environ, "CHATLEDGER_DATABASE": url, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(fold_hash, env=environment, stdout=PIPE, check=True, text=True).stdout.strip()


async def _ask_for_moments(ledger: PostgresLedger, url: str, peer: Eventsourcing) -> None:
    """What `chatledger state ID --at TIME` asks, of another conversation each time; the peer is asked for the same."""
    pool = await open_pool(url, connections_max=1, role=ROLE)
    travel, chosen = TimeTravel(pool, KINDS), random.Random(1)
    clients = FOLDED_EVENTS // len(DIALOGUE) // CLIENTS_AT_A_TIME * CLIENTS_AT_A_TIME
    conversations = [conversation_of(client_of(chosen.randrange(clients))) for _ in range(1 + MOMENTS)]
    streams = [Selection(stream=f"conversation-{conversation}") for conversation in conversations]
    ninths = [[event async for event in ledger.read(stream)][8] for stream in streams]
    ours, theirs = iter(zip(conversations, ninths, strict=True)), iter(conversations)

    async def state() -> float:
        conversation, ninth = next(ours)
        started_at = perf_counter()
        known = await travel.state(CONVERSATION.name, conversation, Moment(time=ninth.recorded_at))
        took_ms = (perf_counter() - started_at) * 1_000
        assert known is not None
        assert known.last_event is not None
        assert known.last_event.recorded_at == ninth.recorded_at
        return took_ms

    async def peer_events() -> float:
        started_at = perf_counter()
        found = peer.decoded(peer.recorder.select_events(f"conversation-{next(theirs)}", lte=9))
        took_ms = (perf_counter() - started_at) * 1_000
        assert len(found) == 9
        return took_ms

    ms = await in_turns({"ours": state, "peer": peer_events}, MOMENTS)
    name = f"{peer.name}: the same stream up to a version, only decoded, not folded"
    report("ledger_state_at", "ms", ms["ours"], ms["peer"], name)
    await pool.close()


async def scale() -> None:
    """Print ledger_scale_append and ledger_scale_read once for each size.

    While the ledger grows to a size it takes turns with one of 50 thousand events on another server, so that a slower
    minute meets both, and its checkpoints and autovacuum are in its figure: 1.25 is a quarter more. It takes 15 GB.
    """
    with temporary_postgres() as server, temporary_postgres() as small_server:
        for each in (server, small_server):
            with psycopg.connect(each.url, autocommit=True) as connection:
                for statement in TOUCH_BUFFERS:
                    connection.execute(statement)
        with fresh_database(server) as url:
            async with open_ledger(url) as ledger:
                history = batches()
                for size in SIZES:
                    with fresh_database(small_server) as small_url:
                        async with open_ledger(small_url) as small:
                            await _grow(ledger, history, size, small)


async def _grow(large: PostgresLedger, history: Iterator[Batch], size: int, small: PostgresLedger) -> None:
    unit, peer_name = f"µs per event up to {size:,} events", f"ours at {SIZES[0]:,} events"
    turn_events, small_history = (size - await large.last_position()) // SCALE_TURNS, batches()
    await append_us(small, small_history, SIZES[0])
    turns: dict[str, Turn] = {
        "large": lambda: append_us(large, history, turn_events),
        "small": lambda: append_us(small, small_history, SMALL_TURN_EVENTS),
    }
    # Their mean, not their median: a checkpoint's pause is a part of what an event costs.
    us = await in_turns(turns, SCALE_TURNS - 1, statistics.mean)
    report("ledger_scale_append", unit, us["large"], us["small"], peer_name)
    turns = {"large": lambda: read_us(large, SIZES[0]), "small": lambda: read_us(small, SIZES[0])}
    us = await in_turns(turns, SCALE_TURNS - 1)
    report("ledger_scale_read", unit, us["large"], us["small"], peer_name)


async def append_us(ledger: PostgresLedger, history: Iterator[Batch], events: int) -> float:
    """Append so many events; return the cost of one in µs."""
    seconds = 0.0
    for batch in islice(history, events // BATCH):
        started_at = perf_counter()
        await ledger.append(batch)
        seconds += perf_counter() - started_at
    return seconds / events * 1e6


async def read_us(ledger: PostgresLedger, events: int) -> float:
    """Read so many events, decoded, in stretches from all over the ledger; return the cost of one in µs."""
    length, last, found = events // STRETCHES, await ledger.last_position(), 0
    started_at = perf_counter()
    for after in range(0, last - length + 1, (last - length) // (STRETCHES - 1)):
        found += sum([1 async for _ in ledger.read(Selection(after=after, until_position=after + length))])
    return (perf_counter() - started_at) / found * 1e6
