"""Topics are made on a real broker, or it is said which one is not, and why."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from chatledger.adapters.kafka_topics import create_topics
from chatledger.errors import ConfigurationError
from tests.support.kafka import RealKafka

pytestmark = pytest.mark.kafka

DEADLINE_S = 20


async def create_until_refused(kafka: RealKafka, plans: dict[str, tuple[int, dict[str, str]]]) -> None:
    """What was just made shows in the broker's metadata a moment later; until then it only is not made again."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            assert await create_topics(kafka.bootstrap_servers, plans) == []


async def test_topics_are_made_once(real_kafka: RealKafka) -> None:
    plans = {f"made-{uuid.uuid4().hex}": (4, {"cleanup.policy": "compact"})}
    assert await create_topics(real_kafka.bootstrap_servers, plans) == list(plans)
    assert await create_topics(real_kafka.bootstrap_servers, plans) == []


async def test_a_topic_with_other_partitions_is_refused_by_name(real_kafka: RealKafka) -> None:
    name = f"other-{uuid.uuid4().hex}"
    await create_topics(real_kafka.bootstrap_servers, {name: (2, {})})
    with pytest.raises(ConfigurationError, match=f"{name} has 2 partitions and must have 4"):
        await create_until_refused(real_kafka, {name: (4, {})})


async def test_what_the_broker_refuses_is_not_taken_for_made(real_kafka: RealKafka) -> None:
    name = f"refused-{uuid.uuid4().hex}"
    with pytest.raises(ConfigurationError, match=f"does not create topic {name}.*InvalidConfig"):
        await create_topics(real_kafka.bootstrap_servers, {name: (4, {"no.such.setting": "1"})})
