"""Recorded histories: conversations of the past, folded by today's code, must come to the states of then.

Each file of `histories` is what `chatledger replay` printed; beside it lies the hash that it came to. A file is never
edited: it stands for somebody's ledger. `python -m tests.replay.test_recorded_histories NAME` records a new one.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.replay import event_line, fold, read_event_line, state_hash
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
    lines = (HISTORIES / f"{name}.ndjson").read_bytes().splitlines()
    events = [read_event_line(line) for line in lines]
    assert state_hash(fold(event.envelope for event in events)) == (HISTORIES / f"{name}.sha256").read_text().strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_of_the_past_is_written_as_it_was(name):
    lines = (HISTORIES / f"{name}.ndjson").read_bytes().splitlines()
    assert [event_line(read_event_line(line)) for line in lines] == lines


def test_there_are_histories():
    assert set(NAMES) >= set(CONVERSATIONS)


async def record(name: str, placed: Placed) -> None:
    """Write one history and its hash; refuses to change one."""
    ledger = MemoryLedger(clock=ManualClock(datetime(2026, 3, 2, 12, tzinfo=UTC)))
    await ledger.append(as_records(placed))
    with (HISTORIES / f"{name}.ndjson").open("xb") as file:
        file.writelines([event_line(event) + b"\n" async for event in ledger.read()])
    states = fold(envelope for _, envelope in placed)
    (HISTORIES / f"{name}.sha256").write_text(state_hash(states) + "\n")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], history("77", CONVERSATIONS[sys.argv[1]])))
