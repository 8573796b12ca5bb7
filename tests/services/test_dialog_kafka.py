"""The dialog worker on a real Kafka, killed and failed in its most dangerous moments. Promises 2, 3 and 4."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatledger import topics
from chatledger.adapters.kafka_topics import create_topics
from chatledger.process import EXIT_AWAY
from tests.support.dialog import (
    DialogProcess,
    differences,
    orders,
    read_all,
    read_until,
    reference,
    send,
)
from tests.support.kafka import RealKafka, require_java_and_maven

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SLOW_BEFORE_THE_CHANGELOG = """
import asyncio
import signal
from chatledger import topics
from chatledger.adapters import kafka_batches
publish = kafka_batches.BatchPublisher.publish
async def slow(self, records, last_look=None):
    if records[0].topic == topics.CHANGELOG:
        await asyncio.sleep(0.15)
    await publish(self, records, last_look)
kafka_batches.BatchPublisher.publish = slow
from chatledger_dialog.__main__ import main
main()
"""
REFUSES_THE_CHANGELOG = """
from chatledger import topics
from chatledger.adapters import kafka_batches
publish = kafka_batches.BatchPublisher.publish
async def refuses(self, records, last_look=None):
    if records[0].topic == topics.CHANGELOG:
        raise RuntimeError("planted")
    await publish(self, records, last_look)
kafka_batches.BatchPublisher.publish = refuses
from chatledger_dialog.__main__ import main
main()
"""


@pytest.fixture
def kafka() -> Iterator[RealKafka]:
    """A broker of its own: the worker's topics and group have fixed names."""
    require_java_and_maven()
    with RealKafka() as kafka:
        plans = {
            plan.name: (plan.partitions, {"cleanup.policy": "compact"} if plan.compacted else {})
            for plan in topics.PLANS
        }
        asyncio.run(create_topics(kafka.bootstrap_servers, plans))
        yield kafka


@pytest.fixture
def worker(kafka: RealKafka, tmp_path: Path) -> Iterator[DialogProcess]:
    process = DialogProcess(kafka.bootstrap_servers, tmp_path, instance_id="dialog-0", log_level="WARNING")
    yield process
    process.kill()


async def test_killed_twice_between_outputs_and_states_it_loses_nothing_and_repeats_only_itself(kafka, worker):
    address = kafka.bootstrap_servers
    inputs = orders(str(number) for number in range(4_000))
    expected = reference(inputs)
    sending = asyncio.create_task(send(address, inputs, at_once=1_000))
    for published in (2_000, 12_000):
        worker.start("-c", SLOW_BEFORE_THE_CHANGELOG)
        await read_until(address, topics.DIALOG, published)
        worker.kill()
    await sending
    worker.start()
    dialog = await read_until(address, topics.DIALOG, len(expected.outputs), distinct=True)
    assert await worker.drain() == 0
    assert differences(expected, dialog, await read_all(address, topics.CHANGELOG)) == []
    assert len(dialog) > len(expected.outputs), "neither kill met the moment that this test is about"


async def test_an_error_in_mid_batch_ends_the_worker_and_the_next_one_does_the_batch_again(kafka, worker):
    address = kafka.bootstrap_servers
    inputs = orders(str(number) for number in range(50))
    expected = reference(inputs)
    await send(address, inputs)
    worker.start("-c", REFUSES_THE_CHANGELOG)
    assert await worker.ended() == 1
    assert "RuntimeError: planted" in worker.log
    assert await read_all(address, topics.CHANGELOG) == []
    worker.start()
    dialog = await read_until(address, topics.DIALOG, len(expected.outputs), distinct=True)
    assert await worker.drain() == 0
    assert differences(expected, dialog, await read_all(address, topics.CHANGELOG)) == []


async def test_a_second_worker_takes_over_what_a_stopped_one_holds_and_the_stopped_one_ends(kafka, tmp_path):
    """A zombie: stopped for longer than the session timeout in mid-batch, then continued."""
    address = kafka.bootstrap_servers
    inputs = orders(str(number) for number in range(400))
    expected = reference(inputs)
    folders = [tmp_path / "first", tmp_path / "second"]
    workers = []
    for folder in folders:
        folder.mkdir()
        workers.append(DialogProcess(address, folder, session_timeout_s="6", heartbeat_s="1", log_level="WARNING"))
    zombie, heir = workers
    try:
        zombie.start("-c", SLOW_BEFORE_THE_CHANGELOG)
        await send(address, inputs)
        await read_until(address, topics.DIALOG, 500)
        zombie.process.send_signal(signal.SIGSTOP)
        heir.start()
        dialog = await read_until(address, topics.DIALOG, len(expected.outputs), distinct=True, deadline_s=60)
        zombie.process.send_signal(signal.SIGCONT)
        assert await zombie.ended() == EXIT_AWAY
        assert await heir.drain() == 0
        dialog = await read_all(address, topics.DIALOG)
        assert differences(expected, dialog, await read_all(address, topics.CHANGELOG)) == []
    finally:
        for each in workers:
            each.kill()
