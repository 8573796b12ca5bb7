"""What /health asks of real outsides: the dialog's lag from a broker, the outbox from Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import start_producer
from chatledger.adapters.kafka_topics import create_topics
from chatledger_ingress.checks import DialogLag, PostgresChecks


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def bootstrap_servers(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "real":
        yield request.getfixturevalue("real_kafka").bootstrap_servers
        return
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


async def test_the_lag_is_what_the_dialogs_group_has_not_committed(bootstrap_servers, request):
    if "real" in request.node.name:
        await create_topics(bootstrap_servers, {topics.INBOUND: (4, {})})
    producer = await start_producer(bootstrap_servers)
    for number in range(10):
        await producer.send_and_wait(topics.INBOUND, b"{}", key=b"k", partition=number % 2)
    await producer.stop()
    lag = DialogLag(bootstrap_servers)
    try:
        before = await lag()
        dialog = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, group_id=topics.DIALOG_GROUP, enable_auto_commit=False
        )
        await dialog.start()
        partition = TopicPartition(topics.INBOUND, 0)
        dialog.assign([partition])
        end = (await dialog.end_offsets([partition]))[partition]
        await dialog.commit({partition: end - 2})
        await dialog.stop()
        assert before >= 10
        assert await lag() == before - end + 2
    finally:
        await lag.close()


@pytest.mark.postgres
async def test_the_outbox_counts_what_waits_and_is_empty_before_it_is_made(postgres_url):
    checks = PostgresChecks(postgres_url)

    await checks.answers()
    assert await checks.outbox() == 0
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA notify")
        connection.execute("CREATE TABLE notify.deliveries (id int, status text)")
        connection.execute("INSERT INTO notify.deliveries VALUES (1, 'waiting'), (2, 'sent'), (3, 'waiting')")
    assert await checks.outbox() == 2


async def test_a_postgres_that_is_away_fails_the_check():
    with pytest.raises(psycopg.Error):
        await PostgresChecks("postgresql://nobody@127.0.0.1:1/nothing").answers()
