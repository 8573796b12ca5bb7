"""The Kafka that other tests and the benchmarks rely on: it answers, and keeps what it acknowledged."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.kafka import RealKafka, require_java_and_maven

pytestmark = pytest.mark.kafka

DEADLINE_S = 20
TOPIC = "real.kafka.starts"


async def make_topic(kafka: RealKafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def publish(kafka: RealKafka, value: bytes) -> int:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, acks="all"
    ) as producer:
        acknowledged = await producer.send_and_wait(TOPIC, value, headers=[("ce_id", b"id")])
    return acknowledged.offset


async def read(kafka: RealKafka, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers) as consumer:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return [(await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value for _ in range(count)]


async def test_real_kafka_gives_back_what_it_acknowledged(real_kafka):
    await make_topic(real_kafka)
    assert await publish(real_kafka, b"order placed") == 0
    assert await read(real_kafka, 1) == [b"order placed"]


@pytest.mark.slow
async def test_real_kafka_keeps_its_port_and_its_data_over_a_kill_and_forgets_them_when_wiped():
    require_java_and_maven()
    with RealKafka() as kafka:
        address = kafka.bootstrap_servers
        await make_topic(kafka)
        await publish(kafka, b"before the kill")
        kafka.kill()
        kafka.start()
        assert await publish(kafka, b"after the kill") == 1
        kafka.restart()
        assert await read(kafka, 2) == [b"before the kill", b"after the kill"]
        assert kafka.bootstrap_servers == address

        kafka.wipe()
        kafka.start()
        await make_topic(kafka)
        assert await publish(kafka, b"new cluster") == 0
