"""The dialog worker's rate with the real order form, against the same fold in FastStream and in Quix Streams.

10,000 clients order at the same time, 5 messages each, all on chat.inbound before anyone starts; 110,000 events come
of them. One process each, one after the other, on one real Kafka. The time runs from the first event to be seen on
the output topic to the last one; a worker's start is not in it. Every topic is then counted and compared by event id.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.dialog_peers import FASTSTREAM_OUTPUTS, FASTSTREAM_STATES, QUIX_OUTPUTS
from benchmarks.report import report
from chatledger import topics
from chatledger.adapters.kafka_topics import create_topics
from tests.support.dialog import PARTITIONS, PROJECTS, orders, read_all, send
from tests.support.kafka import RealKafka

CLIENTS = 10_000
MESSAGES_PER_CLIENT = 5
EVENTS_PER_CLIENT = 11
DEADLINE_S = 120.0
STOP_TIMEOUT_S = 15.0


def run() -> None:
    """Print dialog_rate (messages/s), once against each peer, and the worker's resident memory (MB)."""
    asyncio.run(_run())


async def _run() -> None:
    compacted = {"cleanup.policy": "compact"}
    plans = {plan.name: (plan.partitions, compacted if plan.compacted else {}) for plan in topics.PLANS}
    plans |= {FASTSTREAM_OUTPUTS: (4, {}), QUIX_OUTPUTS: (4, {}), FASTSTREAM_STATES: (4, compacted)}
    with RealKafka() as kafka, tempfile.TemporaryDirectory() as folder:
        address = kafka.bootstrap_servers
        await create_topics(address, plans)
        await send(address, orders(str(number) for number in range(CLIENTS)))
        ours, memory_mb = await _measure(address, Path(folder), ["chatledger_dialog"], topics.DIALOG)
        for peer, name, topic in (
            ("faststream", "FastStream", FASTSTREAM_OUTPUTS),
            ("quix", "Quix Streams", QUIX_OUTPUTS),
        ):
            command = ["benchmarks.dialog_peers", peer, address, folder]
            rate, peer_memory_mb = await _measure(address, Path(folder), command, topic)
            await _require_the_same_events(address, topic)
            report("dialog_rate", "messages/s", ours, rate, name)
            report("dialog_memory", "MB resident", memory_mb, peer_memory_mb, name)


async def _measure(address: str, folder: Path, module: Sequence[str], topic: str) -> tuple[float, float]:
    """Start the module, wait for all its events; returns messages/s and its resident memory in MB."""
    environment = {
        **os.environ,
        "CHATLEDGER_BROKER": address,
        "CHATLEDGER_PROJECTS": str(PROJECTS),
        "CHATLEDGER_DATA_DIR": str(folder),
    }
    process = _start([sys.executable, "-m", *module], environment, folder / "log")
    try:
        rate = await _watch(address, topic, process)
        memory_mb = psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return rate, memory_mb


def _start(command: Sequence[str], environment: dict[str, str], log_file: Path) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


async def _watch(address: str, topic: str, process: subprocess.Popen[bytes]) -> float:
    expected = CLIENTS * EVENTS_PER_CLIENT
    partitions = [TopicPartition(topic, each) for each in PARTITIONS]
    ends_at, first_count, first_at = time.monotonic() + DEADLINE_S, 0, 0.0
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        while True:
            count: int = sum((await consumer.end_offsets(partitions)).values())
            now = time.monotonic()
            if count and not first_count:
                first_count, first_at = count, now
            if count >= expected:
                share = (count - first_count) / expected
                return share * CLIENTS * MESSAGES_PER_CLIENT / (now - first_at)
            if process.poll() is not None or now > ends_at:
                raise RuntimeError(f"{topic}: {count} of {expected} events, exit code {process.returncode}")
            await asyncio.sleep(0.02)


async def _require_the_same_events(address: str, topic: str) -> None:
    ours, theirs = [await read_all(address, each) for each in (topics.DIALOG, topic)]
    ids = [sorted(dict(record.headers)["ce_id"] for record in records) for records in (ours, theirs)]
    if ids[0] != ids[1]:
        different = len(set(ids[0]) ^ set(ids[1]))
        raise RuntimeError(f"{topic}: {len(theirs)} events, chat.dialog: {len(ours)}; {different} are on one only")


if __name__ == "__main__":
    run()
