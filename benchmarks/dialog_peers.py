"""The dialog's fold in two other frameworks, each in its usual way: `-m benchmarks.dialog_peers NAME BROKER FOLDER`.

Both decode, decide, fold and encode with the same functions as our worker, answer on a topic of their own with
acks=all, and keep the states on a compacted topic as well. Neither checks who owns a batch, skips what it reads
again, or logs a line per message.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from chatledger import topics
from chatledger.conversation import decode_state, encode_state, initial
from chatledger.events.codec import from_wire, to_wire
from chatledger.flows.pipeline import handle
from chatledger.project_files import load_projects
from chatledger.replay import States
from tests.support.dialog import PROJECTS

FASTSTREAM_OUTPUTS, FASTSTREAM_STATES = "peer.faststream.dialog", "peer.faststream.states"
QUIX_OUTPUTS = "peer.quix.dialog"
BATCH_RECORDS_MAX = 500


def faststream(broker_address: str, folder: Path) -> None:
    """A batch subscriber; everything of a batch is sent at once and awaited before it is acknowledged."""
    from faststream import AckPolicy, FastStream
    from faststream.kafka import KafkaBroker, KafkaMessage

    projects = load_projects(PROJECTS)
    states: States = {}
    broker = KafkaBroker(broker_address, acks="all", enable_idempotence=True, logger=None)

    async def undecoded(message: KafkaMessage) -> Any:
        return None  # the records are decoded below, with our codec

    @broker.subscriber(
        topics.INBOUND,
        group_id="peer-faststream",
        batch=True,
        max_records=BATCH_RECORDS_MAX,
        batch_timeout_ms=5,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR,
        decoder=undecoded,
    )
    async def on_batch(body: Any, message: KafkaMessage) -> None:
        sent, changed = [], {}
        for record in message.raw_message:
            cause = from_wire(record.headers, record.value)
            before = states.get(cause.conversation) or initial()
            states[cause.conversation], envelopes = handle(before, cause, projects)
            changed[record.key] = states[cause.conversation]
            for envelope in envelopes:
                wire = to_wire(envelope)
                headers = {name: value.decode() for name, value in wire.headers}
                sent.append(
                    await broker.publish(wire.value, FASTSTREAM_OUTPUTS, key=wire.key, headers=headers, no_confirm=True)
                )
        for key, state in changed.items():
            sent.append(await broker.publish(encode_state(state), FASTSTREAM_STATES, key=key, no_confirm=True))
        await asyncio.gather(*sent)

    asyncio.run(FastStream(broker, logger=None).run())


def quix(broker_address: str, folder: Path) -> None:
    """A stateful streaming dataframe over its RocksDB store with a changelog."""
    from quixstreams import Application, State

    projects = load_projects(PROJECTS)
    app = Application(
        broker_address=broker_address,
        consumer_group="peer-quix",
        auto_offset_reset="earliest",
        state_dir=folder / "quix",
        loglevel="WARNING",
        producer_extra_config={"enable.idempotence": True, "acks": "all"},
    )
    inbound = app.topic(topics.INBOUND, key_deserializer="bytes", value_deserializer="bytes")
    outputs = app.topic(QUIX_OUTPUTS, key_serializer="bytes", value_serializer="bytes")

    def fold(value: bytes, key: bytes, timestamp: int, headers: Any, state: State[Any, Any]) -> list[Any]:
        cause = from_wire(headers, value)
        stored = state.get_bytes("state")
        before = initial() if stored is None else decode_state(stored)
        after, envelopes = handle(before, cause, projects)
        state.set_bytes("state", encode_state(after))
        return [to_wire(envelope) for envelope in envelopes]

    frame = app.dataframe(inbound).apply(fold, stateful=True, metadata=True, expand=True)
    frame = frame.set_headers(lambda wire, key, timestamp, headers: list(wire.headers))
    frame.apply(lambda wire: wire.value).to_topic(outputs)
    app.run()


if __name__ == "__main__":
    {"faststream": faststream, "quix": quix}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
