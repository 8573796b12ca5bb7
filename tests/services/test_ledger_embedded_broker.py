"""The history commands beside the embedded broker, which tells less than a real one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, KafkaSubscription, new_consumer, start_producer
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.dialog_table import decode_entry
from chatledger.replay import fold
from chatledger_cli.replay.run import Plan, Replay
from chatledger_cli.selection import Words, choose
from chatledger_ledger.broker_view import dialog_workers, open_broker_view
from chatledger_ledger.rebuild import rebuild_dialog
from chatledger_ledger.verification import BrokerAddress, verify
from tests.support.ledger import as_records, history, open_ledger

PLACED = [*history("77"), *history("78", ["hi", "Baker Street 221b"])]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


async def test_the_table_is_rebuilt_where_the_worker_of_its_partition_looks(broker):
    ledger = MemoryLedger()
    await ledger.append(as_records(PLACED))
    producer = await start_producer(broker.bootstrap_servers)
    try:
        publisher = KafkaPublisher(producer)
        assert await rebuild_dialog(ledger, publisher.publish_raw) == 2
        for topic, envelope in PLACED:
            await publisher.publish(topic, [envelope])
    finally:
        await producer.stop()
    states = fold(envelope for _, envelope in PLACED)
    async with open_broker_view(broker.bootstrap_servers) as view:
        table = await view.dialog_table()
        extents = await view.extents(topics.ALL)
    assert {name: decode_entry(value).state for name, value in table.entries.items()} == states
    assert sum(extent.end for extent in extents.values()) == len(PLACED)


async def test_whether_a_worker_runs_is_not_known(broker):
    assert await dialog_workers(broker.bootstrap_servers) is None


@pytest.mark.postgres
async def test_verify_sees_what_the_broker_has_and_the_ledger_has_not(broker, postgres_url):
    async with open_ledger(postgres_url, incarnation=broker.incarnation) as ledger:
        await ledger.append(as_records(PLACED))
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.INBOUND, [PLACED[0][1]])
    finally:
        await producer.stop()
    address = BrokerAddress(bootstrap_servers=broker.bootstrap_servers, incarnation=broker.incarnation)
    report = await verify(postgres_url, broker=address)
    found = {finding.name: finding for finding in report.findings}
    assert "is in history and not in the dialog's table" in found["I5"].examples[0]
    assert any("is above the topic's end" in example for example in found["I8"].examples)


async def test_what_the_dialog_has_not_acknowledged_is_on_its_way(broker):
    inbound = [envelope for topic, envelope in PLACED if topic == topics.INBOUND]
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.INBOUND, inbound)
    finally:
        await producer.stop()
    dialog = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, group_id=topics.DIALOG_GROUP, enable_auto_commit=False
    )
    await dialog.start()
    try:
        async with open_broker_view(broker.bootstrap_servers) as view:
            extents = await view.extents(topics.ALL)
            assert await view.dialog_lag(extents) == len(inbound)
            partitions = {TopicPartition(at.topic, at.partition): at for at in extents if at.topic == topics.INBOUND}
            dialog.assign(list(partitions))
            await dialog.commit({each: extents[at].end for each, at in partitions.items() if extents[at].end})
            assert await view.dialog_lag(extents) == 0
    finally:
        await dialog.stop()


@pytest.mark.postgres
async def test_replay_publishes_to_a_topic_of_its_own(broker, postgres_url, monkeypatch):
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(PLACED))
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.setenv("CHATLEDGER_BROKER", broker.bootstrap_servers)
    await Replay(Plan(chosen=choose(Words(), datetime.now(UTC)), to_topic="replayed")).run()
    copy = MemoryLedger()
    consumer = new_consumer(broker.bootstrap_servers, group="replayed")
    subscription = KafkaSubscription(consumer, topics=["replayed"], positions=copy)
    await consumer.start()
    try:
        async for batch in subscription.batches():
            await copy.append(batch)
            if len([event async for event in copy.read()]) == len(PLACED):
                await subscription.close()
    finally:
        await consumer.stop()
    sent = {envelope.id: envelope for _, envelope in PLACED}
    assert {event.envelope.id: event.envelope async for event in copy.read()} == sent
