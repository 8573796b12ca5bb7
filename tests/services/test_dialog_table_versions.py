"""Another version of the dialog's table, made beside the live one, and what its workers do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import start_producer
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.adapters.table_versions import TableVersions, read_live_table, switch_table
from chatledger.conversation import initial
from chatledger.dialog_table import (
    OFFSET_NONE,
    Entry,
    LiveTable,
    encode_caught_up,
    encode_entry,
    encode_switch,
    live_table,
)
from chatledger.errors import InvariantViolated
from chatledger.events.codec import from_wire
from chatledger.events.envelope import Envelope
from chatledger.flows.pipeline import handle
from chatledger.process import EXIT_AWAY, EXIT_CONFIGURATION
from chatledger.project_files import load_projects
from chatledger.replay import States, fold
from chatledger_dialog.handlers import fold_decided
from tests.support.dialog import (
    PROJECTS,
    DialogProcess,
    differences,
    orders,
    partition_of,
    read_all,
    read_until,
    reference,
    send,
)

HALF, ALL = 100, 200


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
async def worker(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[DialogProcess]:
    process = DialogProcess(
        broker.bootstrap_servers, tmp_path, incarnation=broker.incarnation, session_timeout_s="6", heartbeat_s="1"
    )
    yield process
    process.kill()


@pytest.mark.slow
async def test_workers_switch_to_the_table_that_was_rebuilt_and_go_on(broker, worker):
    address, inputs = broker.bootstrap_servers, orders([str(number) for number in range(40)])
    expected, after_half = reference(inputs[:ALL]), reference(inputs[:HALF])
    worker.start()
    await send(address, inputs[:HALF])
    decided = await read_until(address, topics.DIALOG, len(after_half.outputs))
    # What had been recorded by then is less than what was decided: the worker has to fold the rest itself.
    recorded = decided[: len(decided) // 2]
    await lay_down(address, 2, recorded)
    assert await worker.ended() == EXIT_AWAY
    assert "version 2 of the dialog's table is live" in worker.log
    worker.start()
    await send(address, inputs[HALF:ALL])
    dialog = await read_until(address, topics.DIALOG, len(expected.outputs))
    await worker.logged("table.caught_up", times=4)
    assert await worker.drain() == 0
    assert differences(expected, dialog, await read_all(address, topics.changelog(2))) == []
    assert (await read_live_table(address)).caught_up == {0, 1, 2, 3}
    # Once it has caught up it does not do so again.
    worker.start()
    await worker.logged("dialog.ready", times=3)
    assert await worker.drain() == 0
    assert worker.log.count("table.caught_up") == 4


async def test_a_table_that_lacks_more_than_the_topic_has_is_refused(broker, worker):
    address, inputs = broker.bootstrap_servers, orders(["1"])
    worker.start()
    await send(address, inputs)
    decided = await read_until(address, topics.DIALOG, len(reference(inputs).outputs))
    assert await worker.drain() == 0
    # The cut lies behind events that are not in the table.
    ends = {partition: 1 + max(offsets_of(decided, partition), default=-1) for partition in range(topics.PARTITIONS)}
    await lay_down(address, 2, [], cuts={**ends, decided[0].partition: decided[0].offset + 1})
    worker.start()
    assert await worker.ended() not in (0, EXIT_AWAY, EXIT_CONFIGURATION)
    assert "run `chatledger rebuild dialog` again" in worker.log


async def test_who_follows_is_told_of_a_switch(broker):
    versions = TableVersions(broker.bootstrap_servers)
    try:
        assert await versions.open() == LiveTable()
        producer = await start_producer(broker.bootstrap_servers)
        try:
            await switch_table(producer, 2, {0: 5})
        finally:
            await producer.stop()
        assert await versions.follow(1) == LiveTable(version=2, cuts={0: 5})
    finally:
        await versions.stop()


def test_a_gap_in_what_was_decided_is_refused():
    decided = decided_for(("1",))
    with pytest.raises(InvariantViolated, match="rebuild dialog"):
        fold_decided(decided[1:], lambda key: None, 0)


@given(st.integers(min_value=0, max_value=30), st.integers(min_value=0, max_value=30))
def test_what_is_in_the_table_already_changes_nothing(known, missing_from):
    decided = decided_for(("1", "2"))
    states = fold(decided[:known])
    missing_from = min(known, missing_from)
    entries = fold_decided(decided[missing_from:], lambda key: entry_of(states, key), 0)
    after = states | {key.decode(): entry.state for key, (_, entry) in entries.items()}
    assert after == fold(decided)


def test_only_the_live_version_is_caught_up():
    records = [
        encode_switch(2, {0: 7, 1: 8}),
        encode_caught_up(1, 0),
        encode_caught_up(2, 1),
    ]
    live = live_table(records)
    assert (live.version, live.missing_from(0), live.missing_from(1)) == (2, 7, None)
    assert live_table([encode_switch(3, {1: 9})], live).missing_from(1) == 9


async def lay_down(address: str, version: int, decided: Sequence[Any], cuts: dict[int, int] | None = None) -> None:
    """Make a version of the table from some records of chat.dialog, and make it live."""
    states = fold(from_wire(tuple(record.headers), record.value) for record in decided)
    if cuts is None:
        cuts = {
            partition: 1 + max(offsets_of(decided, partition), default=-1) for partition in range(topics.PARTITIONS)
        }
    producer = await start_producer(address)
    try:
        await producer.partitions_for(topics.changelog(version))
        entries = [
            OutgoingRecord(topics.changelog(version), partition_of(key), key, encode_entry(state, OFFSET_NONE), ())
            for key, state in ((conversation.encode(), state) for conversation, state in states.items())
        ]
        if entries:
            await BatchPublisher(producer).publish(entries)
        await switch_table(producer, version, cuts)
    finally:
        await producer.stop()


def offsets_of(records: Sequence[Any], partition: int) -> list[int]:
    return [record.offset for record in records if record.partition == partition]


@cache
def decided_for(clients: tuple[str, ...]) -> list[Envelope]:
    """What is decided about the orders of some clients, in order."""
    projects, states = load_projects(PROJECTS), States()
    decided: list[Envelope] = []
    for cause in orders(clients):
        state = states.get(cause.conversation) or initial()
        states[cause.conversation], envelopes = handle(state, cause, projects)
        decided += envelopes
    return decided


def entry_of(states: States, key: bytes) -> Entry | None:
    state = states.get(key.decode())
    return None if state is None else Entry(state=state, offset=OFFSET_NONE)
