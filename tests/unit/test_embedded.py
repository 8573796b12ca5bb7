"""The embedded broker and the embedded Postgres: what the rest relies on when no URL is given."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from chatledger.adapters.embedded_broker import (
    DEFAULT_PARTITIONS,
    RETAINED_BYTES_PER_PARTITION,
    EmbeddedBroker,
)
from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger.errors import ConfigurationError, OutsideUnavailable
from tests.support.postgres import temporary_folder

DEADLINE_S = 20


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


def new_producer(broker: EmbeddedBroker) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, enable_idempotence=True, acks="all", linger_ms=0
    )


def new_consumer(broker: EmbeddedBroker, *topics: str, group: str | None = None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=broker.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if group else "none",
    )


async def test_broker_gives_back_what_was_acknowledged_in_order_with_headers(broker):
    async with new_producer(broker) as producer:
        assert len(await producer.partitions_for("round.trip")) == DEFAULT_PARTITIONS
        for number in range(3):
            acknowledged = await producer.send_and_wait(
                "round.trip", f"{number}".encode(), key=b"client", headers=[("ce_id", b"id")]
            )
    partition = TopicPartition("round.trip", acknowledged.partition)
    async with new_consumer(broker) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 1)
        records = [await asyncio.wait_for(consumer.getone(), DEADLINE_S) for _ in range(2)]
        assert await consumer.end_offsets([partition]) == {partition: 3}
    assert [(record.offset, record.value) for record in records] == [(1, b"1"), (2, b"2")]
    assert records[0].headers == (("ce_id", b"id"),)
    assert records[0].key == b"client"


async def test_broker_keeps_the_committed_offset_of_a_group(broker):
    async with new_producer(broker) as producer:
        for value in (b"first", b"second"):
            await producer.send_and_wait("grouped", value, partition=0)
    async with new_consumer(broker, "grouped", group="readers") as consumer:
        assert (await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value == b"first"
        await consumer.commit({TopicPartition("grouped", 0): 1})
        assert await consumer.committed(TopicPartition("grouped", 0)) == 1


async def test_broker_makes_a_topic_with_the_partitions_asked_for(broker):
    broker.create_topic("wide", partitions=7)
    async with new_producer(broker) as producer:
        assert len(await producer.partitions_for("wide")) == 7
    with pytest.raises(OutsideUnavailable, match="wide"):
        broker.create_topic("wide")


async def test_broker_drops_the_oldest_records_and_tells_a_reader_that_asks_for_them(broker):
    value = b"x" * 100_000
    async with new_producer(broker) as producer:
        for _ in range(RETAINED_BYTES_PER_PARTITION // len(value) + 2):
            await producer.send_and_wait("overfull", value, partition=0)
    partition = TopicPartition("overfull", 0)
    async with new_consumer(broker) as consumer:
        consumer.assign([partition])
        assert (await consumer.beginning_offsets([partition]))[partition] > 0
        consumer.seek(partition, 0)
        with pytest.raises(OffsetOutOfRangeError):
            await asyncio.wait_for(consumer.getone(), DEADLINE_S)


def test_each_life_of_a_broker_has_a_name_of_its_own_and_nothing_of_the_last_one():
    broker = EmbeddedBroker()
    assert (broker.bootstrap_servers, broker.incarnation) == ("", "")
    with broker:
        first = broker.incarnation
        broker.create_topic("once")
    with broker:
        assert broker.incarnation != first
        broker.create_topic("once")
    broker.stop()
    with pytest.raises(OutsideUnavailable, match="start"):
        broker.create_topic("late")


def add_note(server: EmbeddedPostgres, text: str) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("create table if not exists notes (text text)")
        connection.execute("insert into notes values (%s)", [text])


def notes(server: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(server.url) as connection:
        return [row[0] for row in connection.execute("select text from notes order by text")]


@pytest.mark.postgres
def test_postgres_keeps_data_and_url_over_a_stop_and_an_early_end(folder):
    # Longer than the path of a Unix socket may be.
    data_dir = folder / ("deep" * 30) / "postgres"
    server = EmbeddedPostgres(data_dir)
    with server:
        url = server.url
        add_note(server, "before the stop")
    assert server.process_id is None

    with server:
        assert server.url == url
        add_note(server, "before the kill")
        killed = server.process_id
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        server.start()
        assert server.process_id != killed
        assert notes(server) == ["before the kill", "before the stop"]


@pytest.mark.postgres
def test_postgres_is_durable_and_keeps_strangers_out(folder):
    with EmbeddedPostgres(folder / "postgres") as server:
        with psycopg.connect(server.url) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
                assert connection.execute(f"show {setting}").fetchone() == ("on",), setting
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url, password="guessed")


@pytest.mark.postgres
def test_the_last_one_out_stops_postgres(folder):
    first, second = EmbeddedPostgres(folder / "postgres"), EmbeddedPostgres(folder / "postgres")
    first.start()
    second.start()
    try:
        assert first.process_id == second.process_id
        first.stop()
        add_note(second, "still here")
    finally:
        second.stop()
    assert second.process_id is None


@pytest.mark.postgres
def test_postgres_left_over_by_a_killed_process_is_taken_over(folder):
    program = (
        "import os, pathlib, signal, sys\n"
        "from chatledger.adapters.embedded_postgres import EmbeddedPostgres\n"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    data_dir = folder / "postgres"
    ended = subprocess.run([sys.executable, "-c", program, str(data_dir)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL

    server = EmbeddedPostgres(data_dir)
    left_over = server.process_id
    assert left_over is not None
    with server:
        assert server.process_id == left_over
        add_note(server, "reachable")
    assert server.process_id is None


@pytest.mark.postgres
def test_a_process_id_that_now_belongs_to_another_program_does_not_stop_postgres(folder):
    server = EmbeddedPostgres(folder / "postgres")
    with server:
        pass
    # The shape that Postgres writes, with the id of a process that surely lives: this one.
    (folder / "postgres" / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n0\n1\n\n\n\n\n")
    with server:
        add_note(server, "up")


def test_postgres_says_what_to_do_about_an_unusable_folder(folder):
    (folder / "file").touch()
    with pytest.raises(ConfigurationError, match="CHATLEDGER_DATA_DIR"):
        EmbeddedPostgres(folder / "file" / "postgres").start()
    with pytest.raises(OutsideUnavailable, match="never started"):
        _ = EmbeddedPostgres(folder / "elsewhere").url


def test_postgres_refuses_the_data_of_another_version(folder):
    cluster = folder / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match="Postgres 16"):
        EmbeddedPostgres(folder / "postgres").start()
