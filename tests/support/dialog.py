"""The dialog worker as a process of its own, what customers say to it, and what came of it on the topics."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from chatledger import topics
from chatledger.adapters.kafka import start_producer
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.conversation import initial
from chatledger.dialog_table import decode_entry
from chatledger.events.codec import to_wire
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived
from chatledger.flows.pipeline import handle
from chatledger.project_files import load_projects
from chatledger.replay import States

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "projects"
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
ORDER = ("hi", "Baker Street 221b", "+91 98765 43210", "3", "yes")
"""What a customer says who orders at once."""
PARTITIONS = list(range(topics.PARTITIONS))


def message(client: str, number: int, text: str, *, every: timedelta = timedelta(seconds=20)) -> Envelope:
    """The `number`th message of a client, as the ingress puts it on chat.inbound."""
    event = MessageReceived(
        channel="chat2desk",
        client_id=client,
        provider_message_id=f"{client}-{number}",
        text=text,
        reply_to={"transport": "whatsapp"},
        raw={"client_id": client, "message_id": number, "text": text},
    )
    return from_outside(
        event,
        id=derive_id("order-form", "chat2desk", client, number),
        source="/chatledger/ingress",
        conversation=conversation_id("order-form", "chat2desk", client),
        time=START + number * every,
    )


def orders(clients: Iterable[str], *, rounds: Sequence[str] = ORDER) -> list[Envelope]:
    """A whole order of each client, all of them talking at the same time."""
    names = list(clients)
    return [message(client, number, text) for number, text in enumerate(rounds) for client in names]


def partition_of(key: bytes) -> int:
    """Where a key goes on every topic."""
    return int(DefaultPartitioner()(key, PARTITIONS, PARTITIONS))


async def send(broker: str, envelopes: Sequence[Envelope], *, at_once: int = 5_000) -> None:
    """Put inputs on chat.inbound."""
    producer = await start_producer(broker)
    try:
        publisher = BatchPublisher(producer, timeout_s=30)
        for start in range(0, len(envelopes), at_once):
            wires = [to_wire(envelope) for envelope in envelopes[start : start + at_once]]
            await publisher.publish(
                [OutgoingRecord(topics.INBOUND, partition_of(w.key), w.key, w.value, w.headers) for w in wires]
            )
    finally:
        await producer.stop()


@asynccontextmanager
async def reader(broker: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group. Its reset is "earliest": with the default it may read nothing, and say so nowhere."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_all(broker: str, topic: str, *, deadline_s: float = 30) -> list[Any]:
    """Every record that the topic has now, by partition and offset."""
    async with reader(broker) as consumer:
        partitions = [TopicPartition(topic, each) for each in PARTITIONS]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        for each in partitions:
            consumer.seek(each, begins[each])
        records: list[Any] = []
        ends_at = time.monotonic() + deadline_s
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            assert time.monotonic() < ends_at, f"{topic}: read {len(records)} of {sum(ends.values())}"
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def read_until(
    broker: str, topic: str, least: int, *, distinct: bool = False, deadline_s: float = 60
) -> list[Any]:
    """The topic's records, once there are at least so many of them, or so many different events."""
    ends_at = time.monotonic() + deadline_s
    partitions, looked_at = [TopicPartition(topic, each) for each in PARTITIONS], -1
    async with reader(broker) as consumer:
        while True:
            count = sum((await consumer.end_offsets(partitions)).values())
            if count >= least and count != looked_at:
                looked_at, records = count, await read_all(broker, topic)
                if len(records) >= least and (not distinct or distinct_ids(records) >= least):
                    return records
            assert time.monotonic() < ends_at, f"{topic}: {count} records after {deadline_s} s, not {least}"
            await asyncio.sleep(0.05)


class DialogProcess:
    """One worker as a child process, its log in a file."""

    def __init__(self, broker: str, folder: Path, *, projects: Path = PROJECTS, **settings: str) -> None:
        self.log_file = folder / "dialog.log"
        self._environment = {
            **os.environ,
            "CHATLEDGER_BROKER": broker,
            "CHATLEDGER_PROJECTS": str(projects),
            "CHATLEDGER_DATA_DIR": str(folder),
            **{f"CHATLEDGER_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> DialogProcess:
        """Start it; it may be started again when it has ended."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *(command or ("-m", "chatledger_dialog"))],
                env=self._environment,
                cwd=self.log_file.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child process."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """All that it has written."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    async def logged(self, text: str, *, times: int = 1, deadline_s: float = 40) -> None:
        """Wait until the log says so."""
        ends_at = time.monotonic() + deadline_s
        while self.log.count(text) < times:
            assert time.monotonic() < ends_at, f"no {text!r} in the log:\n{self.log[-3000:]}"
            await asyncio.sleep(0.05)

    async def ended(self, *, deadline_s: float = 30) -> int:
        """Wait for its end; returns the exit code."""
        return await asyncio.to_thread(self.process.wait, deadline_s)

    async def drain(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return await self.ended()

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a line of inputs must lead to: wire records by event id, in order, and the last state per conversation."""

    outputs: dict[str, tuple[bytes, bytes]]
    states: States


def reference(inputs: Iterable[Envelope]) -> Reference:
    """Fold the inputs one by one, with nothing in between."""
    projects = load_projects(PROJECTS)
    states: States = {}
    outputs = {}
    for cause in inputs:
        before = states.get(cause.conversation) or initial()
        states[cause.conversation], envelopes = handle(before, cause, projects)
        for envelope in envelopes:
            wire = to_wire(envelope)
            outputs[envelope.id] = (wire.key, wire.value)
    return Reference(outputs=outputs, states=states)


def differences(expected: Reference, dialog: Sequence[Any], changelog: Sequence[Any]) -> list[str]:
    """What is wrong with the records of both topics; nothing, where each is there, unchanged and in order."""
    wrong = []
    versions: dict[bytes, int] = {}
    seen = set()
    for record in dialog:
        headers = dict(record.headers)
        event, version = headers["ce_id"].decode(), int(headers["ce_streamversion"])
        if expected.outputs.get(event) != (record.key, record.value):
            wrong.append(f"event {event} is foreign, or its body is another one")
        if event not in seen and version != versions.get(record.key, 0) + 1:
            wrong.append(f"event {event} has version {version} after {versions.get(record.key, 0)}")
        if event not in seen:
            versions[record.key] = version
            seen.add(event)
    wrong += [f"event {event} is missing" for event in expected.outputs.keys() - seen]
    entries = {record.key.decode(): decode_entry(record.value).state for record in changelog}
    wrong += [f"the state of {key} differs" for key in entries if entries[key] != expected.states.get(key)]
    wrong += [f"the state of {key} is missing" for key in expected.states.keys() - entries.keys()]
    return wrong


def distinct_ids(records: Sequence[Any]) -> int:
    """How many different events there are."""
    return len({dict(record.headers)["ce_id"] for record in records})
