"""`chatledger replay --to-topic` on real Kafka and on the embedded broker: word for word, in order, at least once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path

import orjson
import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.ledger_records import recorded, wire_of
from chatledger.errors import ConfigurationError
from chatledger.events import UnknownEvent
from chatledger.events.codec import from_wire
from chatledger.ports import ConsumedRecord
from chatledger_ledger.broker_view import open_broker_view
from tests.support.dialog import message
from tests.support.kafka import RealKafka
from tests.support.ledger import as_records, history
from tests.support.replay import (
    SLOWLY,
    append,
    ended,
    environment_for,
    recorded_rows,
    replayed,
    replaying,
    runner,
)
from tests.unit.event_examples import GOLDEN

pytestmark = [pytest.mark.postgres, pytest.mark.kafka]


def golden_record(name: str) -> ConsumedRecord:
    """A record as a past version wrote it."""
    kept = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    return ConsumedRecord(
        topic=topics.DIALOG,
        partition=3,
        offset=0,
        key=kept["key"].encode(),
        value=orjson.dumps(kept["value"]),
        headers=tuple((header, value.encode()) for header, value in kept["headers"].items()),
    )


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """A ledger of several clients, with an event of an old version and one of a type that nobody knows."""
    stranger = replace(
        message("80", 1, "hi"), data=UnknownEvent(type_name="moon.risen", schema_version=3, data={"p": 1})
    )
    placed = [pair for client in range(6) for pair in history(str(client), invoice=client + 1)]
    others = [golden_record("order.placed.v1"), recorded(stranger, topic=topics.BILLING)]
    append(postgres_url, [*others, *as_records(placed)], each=10)
    return environment_for(postgres_url, tmp_path)


@pytest.fixture
def topic() -> str:
    return f"rehearsal-{uuid.uuid4().hex[:8]}"


def on_topic(broker: str, topic: str) -> list[ConsumedRecord]:
    """Everything on a topic with the usual partitions, one after the other."""

    async def read() -> list[ConsumedRecord]:
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(topics.PARTITIONS)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            left = await consumer.end_offsets(partitions)
            found = []
            for each in partitions:
                while await consumer.position(each) < left[each]:
                    found.append(await consumer.getone(each))
        finally:
            await consumer.stop()
        return [
            ConsumedRecord(
                topic=topic,
                partition=each.partition,
                offset=each.offset,
                key=each.key,
                value=each.value,
                headers=tuple(each.headers),
            )
            for each in found
        ]

    return asyncio.run(read())


def words_of(record: ConsumedRecord) -> tuple[object, ...]:
    return record.key, record.value, record.headers


def test_a_topic_has_history_word_for_word(environment, postgres_url, real_kafka: RealKafka, topic):
    came = replayed(["--to-topic", topic, "--json"], {**environment, "CHATLEDGER_BROKER": real_kafka.bootstrap_servers})
    assert came.code == 0, came.err
    wanted = [wire_of(row.record) for row in recorded_rows(postgres_url)]
    found = on_topic(real_kafka.bootstrap_servers, topic)
    assert came.summary["written"] == len(found) == len(wanted)
    assert came.summary["target"].startswith(f"topic {topic} of broker ")
    assert sorted(map(words_of, found)) == sorted((each.key, each.value, each.headers) for each in wanted)
    # In order within each conversation, which is one partition.
    keys = {each.key for each in wanted}
    for key in keys:
        mine = [words_of(each) for each in found if each.key == key]
        assert mine == [(each.key, each.value, each.headers) for each in wanted if each.key == key]
        assert len({each.partition for each in found if each.key == key}) == 1
    assert {each.partition for each in found} <= set(range(topics.PARTITIONS))
    schemas = [dict(each.headers)["ce_dataschema"] for each in found]
    assert b"urn:chatledger:schema:order.placed:1" in schemas
    assert b"urn:chatledger:schema:moon.risen:3" in schemas
    assert {from_wire(each.headers, each.value).id for each in found} == {
        row.record.id for row in recorded_rows(postgres_url)
    }


def test_a_topic_is_made_with_the_partitions_of_the_others_and_one_that_is_there_is_taken(
    environment, real_kafka: RealKafka, topic
):
    broker = real_kafka.bootstrap_servers
    environment = {**environment, "CHATLEDGER_BROKER": broker}

    async def partitions_of(name: str) -> int:
        async with open_broker_view(broker) as view:
            return len(await view.extents([name]))

    asyncio.run(create_topics(broker, {f"{topic}-wide": (9, {})}))
    for name, partitions in ((topic, topics.PARTITIONS), (f"{topic}-wide", 9)):
        assert replayed(["--to-topic", name], environment).code == 0
        assert asyncio.run(partitions_of(name)) == partitions


def test_after_a_kill_each_event_is_there_at_least_once(
    environment, postgres_url, real_kafka: RealKafka, topic, tmp_path
):
    broker, kept = real_kafka.bootstrap_servers, tmp_path / "kept"
    environment = {**environment, "CHATLEDGER_BROKER": broker}
    words = ["--to-topic", topic, "--resume", kept, "--json"]
    # Slower than the position is saved, which is once a second.
    with replaying([*words, *SLOWLY[:-1], "400ms"], environment) as process:
        while not kept.exists() or orjson.loads(kept.read_bytes())["events"] == 0:
            assert process.poll() is None
        process.kill()
    finished = replayed(words, environment)
    assert finished.code == 0, finished.err
    assert finished.summary["events"] == len(recorded_rows(postgres_url))
    assert 0 < finished.summary["written"] < finished.summary["events"]
    ids = [dict(each.headers)["ce_id"].decode() for each in on_topic(broker, topic)]
    assert set(ids) == {row.record.id for row in recorded_rows(postgres_url)}


def test_it_connects_to_the_ledger_and_the_broker_alone(environment, postgres_url, real_kafka: RealKafka, topic):
    broker = real_kafka.bootstrap_servers
    doors = {int(str(psycopg.conninfo.conninfo_to_dict(postgres_url)["port"])), int(broker.rpartition(":")[2])}
    with replaying(["--to-topic", topic, *SLOWLY], {**environment, "CHATLEDGER_BROKER": broker}) as process:
        seen: set[int] = set()
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                seen |= {each.raddr.port for each in watched.net_connections(kind="inet") if len(each.raddr)}
            except psutil.NoSuchProcess:
                break
        assert ended(process).code == 0
    assert seen == doors


def test_the_embedded_broker_makes_the_topic_itself(environment, postgres_url, monkeypatch, topic):
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
        monkeypatch.setenv("CHATLEDGER_BROKER", broker.bootstrap_servers)
        came = runner()("--to-topic", topic)
        assert came.exit_code == 0, came.exception
        assert "the embedded one" in came.stderr
        assert len(on_topic(broker.bootstrap_servers, topic)) == len(recorded_rows(postgres_url))


def test_a_broker_that_is_none_or_away_is_told(environment, postgres_url, monkeypatch):
    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    monkeypatch.setenv("CHATLEDGER_BROKER", "127.0.0.1:1")
    assert "no broker answers at 127.0.0.1:1" in str(runner()("--to-topic", "rehearsal").exception)
    monkeypatch.setenv("CHATLEDGER_BROKER", "localhost:http")
    assert isinstance(runner()("--to-topic", "rehearsal").exception, ConfigurationError)
