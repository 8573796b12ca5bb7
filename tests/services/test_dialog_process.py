"""The dialog worker as a process on the embedded broker: answers, drains, goes on, and says what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import start_producer
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.dialog_table import OFFSET_NONE, encode_entry
from chatledger.events.codec import from_wire
from chatledger.events.envelope import Envelope
from tests.support.dialog import (
    DialogProcess,
    differences,
    message,
    orders,
    partition_of,
    read_all,
    read_until,
    reference,
    send,
)


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


async def put(broker: EmbeddedBroker, records: list[OutgoingRecord]) -> None:
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await BatchPublisher(producer).publish(records)
    finally:
        await producer.stop()


@pytest.mark.slow
async def test_a_worker_answers_drains_and_goes_on_where_it_was(broker, worker):
    clients = [str(number) for number in range(40)]
    inputs = orders(clients)
    address = broker.bootstrap_servers
    await send(address, inputs[:100])
    worker.start()
    await read_until(address, topics.DIALOG, len(reference(inputs[:100]).outputs))
    assert await worker.drain() == 0
    assert "dialog.drained" in worker.log

    # What came while it was away is answered from the states that the changelog kept.
    await send(address, inputs[100:])
    worker.start()
    expected = reference(inputs)
    dialog = await read_until(address, topics.DIALOG, len(expected.outputs))
    assert await worker.drain() == 0
    assert differences(expected, dialog, await read_all(address, topics.CHANGELOG)) == []
    assert len(dialog) == len(expected.outputs), "a drained worker leaves nothing to be done twice"


async def test_a_rebuilt_state_goes_on_and_a_poisoned_record_goes_to_the_dead(broker, worker):
    address = broker.bootstrap_servers
    before, after = orders(["77"])[:3], orders(["77"])[3:]
    state = reference(before).states["order-form/chat2desk/77"]
    key = b"order-form/chat2desk/77"
    await put(
        broker,
        [
            OutgoingRecord(topics.CHANGELOG, partition_of(key), key, encode_entry(state, OFFSET_NONE), ()),
            OutgoingRecord(topics.INBOUND, partition_of(key), key, b"{", (("ce_id", b"x"),)),
        ],
    )
    await send(address, after)
    worker.start()
    dialog = await read_until(address, topics.DIALOG, 4)
    [dead] = await read_until(address, topics.DEAD, 1)
    assert await worker.drain() == 0
    events = [from_wire(record.headers, record.value) for record in dialog]
    decided = ["quantity.given", "reply.requested", "order.placed", "reply.requested"]
    assert [event.data.type for event in events] == decided
    assert [event.stream_version for event in events] == [8, 9, 10, 11]
    assert from_wire(dead.headers, dead.value).data.type == "record.dead_lettered"
    assert dead.key == key


async def test_the_log_follows_a_message_and_tells_nothing_personal(broker, worker):
    cause: Envelope = message("9177", 0, "My name is Secret")
    await send(broker.bootstrap_servers, [cause])
    worker.start()
    await worker.logged("message.handled")
    assert await worker.drain() == 0
    lines = [orjson.loads(line) for line in worker.log.splitlines()]
    [line] = [line for line in lines if line["event"] == "message.handled"]
    assert (line["correlation_id"], line["conversation"]) == (cause.id, "order-form/chat2desk/***")
    assert "Secret" not in worker.log
    assert "9177" not in worker.log


async def test_a_worker_that_is_still_starting_leaves_at_once(broker, worker):
    worker.start()
    await asyncio.sleep(0)
    assert await worker.drain() in (0, -15)  # before the interpreter has come to our handlers the signal ends it


async def test_no_project_is_a_configuration_error_that_says_what_to_do(broker, tmp_path):
    process = DialogProcess(broker.bootstrap_servers, tmp_path, projects=tmp_path).start()
    assert await process.ended() == 2
    assert process.log.startswith("chatledger-dialog: no project files")


async def test_a_wrong_setting_is_named(broker, tmp_path):
    process = DialogProcess(broker.bootstrap_servers, tmp_path, session_timeout_s="soon").start()
    assert await process.ended() == 2
    assert process.log.startswith("chatledger-dialog: CHATLEDGER_SESSION_TIMEOUT_S: ")


async def test_a_topic_with_another_number_of_partitions_is_refused(broker, tmp_path):
    broker.create_topic(topics.DIALOG, partitions=2)
    process = DialogProcess(broker.bootstrap_servers, tmp_path, incarnation=broker.incarnation).start()
    assert await process.ended() == 2
    assert "topic chat.dialog has 2 partitions and must have 4" in process.log


async def test_a_broker_that_is_away_ends_the_process_with_75(tmp_path):
    process = DialogProcess("127.0.0.1:1", tmp_path).start()
    assert await process.ended() == 75
    assert "no broker answers at 127.0.0.1:1" in process.log
