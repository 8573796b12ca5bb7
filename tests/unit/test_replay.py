"""The fold of whole histories: the same from any copy of them, and with nothing within reach that could send."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.conversation import Status
from chatledger.dialog_table import Entry, decode_entry, encode_entry
from chatledger.errors import UndecodableRecord
from chatledger.ports import Selection
from chatledger.replay import event_line, fold, fold_ledger, read_event_line, state_hash
from tests.support.ledger import as_records, conversation_of, history

TWO = [*history("77"), *history("78", ["hi", "Baker Street 221b"])]


def test_a_copy_of_each_event_changes_nothing():
    once = fold(envelope for _, envelope in TWO)
    assert fold(envelope for _, envelope in [*TWO, *TWO]) == once
    assert once[conversation_of("77")].status is Status.COMPLETED


@given(st.randoms())
def test_how_conversations_are_interleaved_makes_no_difference(random):
    queues = [list(history(client)) for client in "abc"]
    mixed = []
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))
    one_after_the_other = [pair for client in "abc" for pair in history(client)]
    assert state_hash(fold(each for _, each in mixed)) == state_hash(fold(each for _, each in one_after_the_other))


def test_the_hash_tells_states_apart():
    whole = fold(envelope for _, envelope in TWO)
    shorter = [*history("77"), *history("78", ["hi"])]
    assert state_hash(whole) != state_hash(fold(envelope for _, envelope in shorter))
    assert state_hash(whole) == state_hash(dict(reversed(whole.items())))
    assert state_hash({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


async def test_a_conversation_is_known_as_it_was_at_a_time():
    clock = ManualClock(datetime(2026, 11, 21, 10, tzinfo=UTC))
    ledger = MemoryLedger(clock=clock)
    await ledger.append(as_records(history("77", ["hi"])))
    clock.time = datetime(2026, 11, 21, 11, tzinfo=UTC)
    await ledger.append(as_records(history("77"), first_offset=100))

    async def status_at(until: datetime | None) -> Status | None:
        stream = f"conversation-{conversation_of('77')}"
        states = await fold_ledger(ledger.read(Selection(stream=stream, until_time=until)))
        return states[conversation_of("77")].status if states else None

    assert await status_at(datetime(2026, 11, 21, 10, 30, tzinfo=UTC)) is Status.WAITING_ADDRESS
    assert await status_at(None) is Status.COMPLETED
    assert await status_at(datetime(2026, 11, 21, 9, tzinfo=UTC)) is None


async def test_a_line_of_history_comes_back_as_it_was():
    ledger = MemoryLedger()
    await ledger.append(as_records(TWO))
    events = [event async for event in ledger.read()]
    assert [read_event_line(event_line(event)) for event in events] == events
    assert state_hash(await fold_ledger(ledger.read())) == state_hash(fold(each.envelope for each in events))


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"metadata": 1}', b"\xff"])
def test_what_is_no_line_of_history_is_said_to_be_none(line):
    with pytest.raises(UndecodableRecord):
        read_event_line(line)


def test_an_entry_of_the_table_comes_back_as_it_was():
    for state in fold(envelope for _, envelope in TWO).values():
        assert decode_entry(encode_entry(state, 12)) == Entry(state=state, offset=12)
        assert encode_entry(state, 12).startswith(b'{"offset":12,"state":{"version":')


@pytest.mark.parametrize(
    "module", ["chatledger.replay", "chatledger_ledger.fold_hash", "chatledger_cli.replay_command"]
)
def test_replay_has_no_http_client_no_channel_and_no_token_within_reach(module):
    program = (
        f"import sys, {module}\n"
        "clients = {'httpx', 'aiohttp', 'requests', 'chatledger.channels', 'chatledger.project_files'}\n"
        "print(sorted(clients & sys.modules.keys()))\n"
        "from chatledger.settings import CommonSettings\n"
        "fields = {name for each in [CommonSettings, *CommonSettings.__subclasses__()] for name in each.model_fields}\n"
        "print(sorted(name for name in fields if 'token' in name or 'secret' in name))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout.split("\n")[:2] == ["[]", "[]"], ended.stderr
