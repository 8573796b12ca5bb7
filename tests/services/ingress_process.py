"""The ingress as a process of its own, for tests of what only a process shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


class IngressProcess:
    """`python -m chatledger_ingress` with its log in a file. `port` is the one that it chose."""

    def __init__(self, environment: dict[str, str], log_file: Path) -> None:
        own = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "DATABASE_URL")}
        base = {"CHATLEDGER_PROJECTS": str(PROJECTS), "PORT": "0"}
        self.log_file = log_file
        with log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chatledger_ingress"], env=own | base | environment, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def wait_for_port(self) -> int:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.splitlines():
                if '"ingress.listening"' in line and line.endswith("}"):
                    return int(json.loads(line)["port"])
            time.sleep(0.02)
        raise AssertionError(f"the ingress did not start: {self.log}")


@contextmanager
def running_ingress(environment: dict[str, str], folder: Path) -> Iterator[tuple[IngressProcess, int]]:
    """Start one, and kill it at the end if it still runs."""
    ingress = IngressProcess(environment, folder / "ingress.log")
    try:
        yield ingress, ingress.wait_for_port()
    finally:
        ingress.process.kill()
        ingress.process.wait()


async def stored_ids(bootstrap_servers: str) -> list[str]:
    """The ids of all events on chat.inbound."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition("chat.inbound", number) for number in range(4)]
        consumer.assign(partitions)
        left = sum((await consumer.end_offsets(partitions)).values())
        ids: list[str] = []
        while len(ids) < left:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                ids += [dict(record.headers)["ce_id"].decode() for record in records]
        return ids
    finally:
        await consumer.stop()
