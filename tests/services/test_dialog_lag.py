"""The dialog's lag: told by the last fetch, and by the broker itself where fetching has stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from chatledger import topics
from chatledger_dialog.edge import DialogEdge, new_faust_app
from chatledger_dialog.settings import DialogSettings

PARTITION = TopicPartition(topics.INBOUND, 1)


class StuckConsumer:
    """It has fetched up to 7, handled all of that, and fetches no more."""

    _committed_offset: Mapping[TopicPartition, int] = {PARTITION: 7}

    def __init__(self, end: int | None) -> None:
        self.end = end

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION, TopicPartition(topics.CHANGELOG, 1)}

    def highwater(self, partition: TopicPartition) -> int:
        return 7

    async def highwaters(self, *partitions: TopicPartition) -> Mapping[TopicPartition, int]:
        if self.end is None:
            raise KafkaConnectionError("no broker")
        return dict.fromkeys(partitions, self.end)


def edge_over(consumer: Any, tmp_path: Any) -> DialogEdge:
    settings = DialogSettings(broker="localhost:1")
    edge = DialogEdge(new_faust_app(settings, data_dir=tmp_path), session_timeout_s=10, batch_records_max=10)
    edge.app.consumer = consumer
    return edge


async def test_a_reader_that_has_stopped_fetching_has_the_lag_that_the_broker_tells(tmp_path):
    edge = edge_over(StuckConsumer(end=12), tmp_path)
    assert edge.lag() == {1: 0}
    await edge.ask_ends()
    assert edge.lag() == {1: 5}


async def test_a_broker_that_does_not_answer_changes_nothing(tmp_path):
    edge = edge_over(StuckConsumer(end=None), tmp_path)
    await edge.ask_ends()
    assert edge.lag() == {1: 0}
