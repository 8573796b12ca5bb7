"""Recorded histories: conversations of the past, folded by today's code, must come to the states of then.

Each file of `histories` is what `chatledger replay` printed; beside it lies the hash that it came to. A file is never
edited: it stands for somebody's ledger. `python -m tests.replay.test_recorded_histories NAME` records a new one.

A new field of the state changes every hash. Then, and only then, `... --hashes` writes them anew; that nothing but the
new field has changed is for whoever does it to show.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.events.codec import type_and_version
from chatledger.replay import event_line, fold, read_event_line, state_hash
from tests.replay.store_conversations import CONVERSATIONS as STORE_CONVERSATIONS
from tests.replay.store_conversations import store_history
from tests.support.dialog import ORDER
from tests.support.ledger import Placed, as_records, history

HISTORIES = Path(__file__).parent / "histories"
NAMES = sorted(path.stem for path in HISTORIES.glob("*.ndjson"))
CONVERSATIONS: dict[str, tuple[str, ...]] = {
    "an-order": ORDER,
    "wrong-answers-and-back": (
        "привет",
        "12",
        "Невский проспект 1",
        "abc",
        "+7 921 123-45-67",
        "back",
        "98765 43210",
        "99",
        "x3",
        "help",
        "maybe yes?",
        "да",
        "hi again",
        "cancel",
    ),
    "handed-off": ("hi", "1", "2", "3", "4", "5", "hello?", "restart", "Baker Street 221b"),
    "throttled": tuple(f"message {number}" for number in range(40)),
}
"""What customers said in the histories that are recorded."""


@pytest.mark.parametrize("name", NAMES)
def test_a_history_of_the_past_still_folds_to_its_states(name):
    assert hash_of(name) == (HISTORIES / f"{name}.sha256").read_text().strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_of_the_past_is_written_as_it_was_or_as_its_events_are_written_today(name):
    for line in (HISTORIES / f"{name}.ndjson").read_bytes().splitlines():
        event = read_event_line(line)
        written = event_line(event)
        if orjson.loads(line)["metadata"]["schemaversion"] == type_and_version(event.envelope.data)[1]:
            assert written == line
        else:
            assert read_event_line(written) == event


def test_there_are_histories():
    assert set(NAMES) >= {*CONVERSATIONS, *STORE_CONVERSATIONS}


def hash_of(name: str) -> str:
    """What a recorded history comes to today."""
    lines = (HISTORIES / f"{name}.ndjson").read_bytes().splitlines()
    return state_hash(fold(read_event_line(line).envelope for line in lines))


async def record(name: str, placed: Placed) -> None:
    """Write one history and its hash; refuses to change one."""
    ledger = MemoryLedger(clock=ManualClock(datetime(2026, 3, 2, 12, tzinfo=UTC)))
    await ledger.append(as_records(placed))
    with (HISTORIES / f"{name}.ndjson").open("xb") as file:
        file.writelines([event_line(event) + b"\n" async for event in ledger.read()])
    write_hash(name)


def write_hash(name: str) -> None:
    """Write what a history comes to today beside it."""
    (HISTORIES / f"{name}.sha256").write_text(hash_of(name) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--hashes":
        for each in NAMES:
            write_hash(each)
    elif sys.argv[1] in STORE_CONVERSATIONS:
        asyncio.run(record(sys.argv[1], store_history(STORE_CONVERSATIONS[sys.argv[1]])))
    else:
        asyncio.run(record(sys.argv[1], history("77", CONVERSATIONS[sys.argv[1]])))
