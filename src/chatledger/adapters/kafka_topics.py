"""Makes topics on a real broker, and says which one cannot be as it must, and why."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from chatledger.errors import BrokerUnavailable, ConfigurationError


async def create_topics(bootstrap_servers: str, plans: Mapping[str, tuple[int, dict[str, str]]]) -> list[str]:
    """Create the topics that are not there: name to (partitions, config). Return the names of those created.

    Raises BrokerUnavailable when no broker answers, ConfigurationError when it refuses for good, or where a topic is
    there with another number of partitions.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        there = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        _require_partitions(there, plans)
        missing = sorted(plans.keys() - there.keys())
        if not missing:
            return []
        answer = await admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=plans[name][0],
                    replication_factor=-1,
                    # -1 leaves the factor to the broker, which aiokafka allows only beside an assignment; {} is none.
                    replica_assignments={},
                    topic_configs=plans[name][1],
                )
                for name in missing
            ]
        )
    except KafkaError as wrong:
        raise BrokerUnavailable(f"cannot create topics at {bootstrap_servers}: {wrong}") from wrong
    finally:
        await admin.close()
    return [name for name, code, *message in answer.topic_errors if _is_created(name, code, *message)]


def _require_partitions(there: Mapping[str, int], plans: Mapping[str, tuple[int, dict[str, str]]]) -> None:
    for name in sorted(plans.keys() & there.keys()):
        if there[name] != plans[name][0]:
            raise ConfigurationError(
                f"topic {name} has {there[name]} partitions and must have {plans[name][0]}: its records would not be in"
                " the partition of their conversation; delete the topic, or use another broker"
            )


def _is_created(name: str, code: int, message: str | None = None) -> bool:
    """Read the broker's answer for one topic, which aiokafka does not look at; False where another was quicker."""
    if code == 0:
        return True
    refused = for_code(code)
    if refused is TopicAlreadyExistsError:
        return False
    said = f"the broker does not create topic {name}: {refused.__name__}: {message or refused.description}"
    if refused.retriable:
        raise BrokerUnavailable(said)
    raise ConfigurationError(f"{said}; create it by hand, or change what the broker allows")
