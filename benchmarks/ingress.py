"""Ingress against a bare FastAPI + aiokafka endpoint: requests a second, and the median latency.

Both run as one process each against one real Kafka, and are loaded in turns, A B A B, by the same generator.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ingress_peer import TOPIC as PEER_TOPIC
from benchmarks.report import report
from benchmarks.running_system import TOKEN, free_port, write_project
from chatledger import topics
from chatledger.adapters.kafka_topics import create_topics
from tests.support.kafka import RealKafka

ROUNDS = 3
SECONDS = 4.0
CONNECTIONS = 32
WARM_UP_SECONDS = 1.0
PEER_NAME = "bare FastAPI + aiokafka endpoint"


def run() -> None:
    """Print ingress_throughput (requests/s) and ingress_latency_p50 (ms)."""
    with RealKafka() as kafka, tempfile.TemporaryDirectory() as folder:
        asyncio.run(create_topics(kafka.bootstrap_servers, {name: (4, {}) for name in (topics.INBOUND, PEER_TOPIC)}))
        with _ours(kafka, Path(folder)) as our_port, _peer(kafka, Path(folder)) as peer_port:
            sides = {"ours": ("/webhook/chat2desk", our_port), "peer": ("/webhook", peer_port)}
            _measure(sides, connections=CONNECTIONS, seconds=WARM_UP_SECONDS, rounds=1)
            loaded = _measure(sides, connections=CONNECTIONS, seconds=SECONDS, rounds=ROUNDS)
            quiet = _measure(sides, connections=1, seconds=SECONDS / 2, rounds=ROUNDS)
    rate = {side: statistics.median(each["requests"] / each["seconds"] for each in loaded[side]) for side in sides}
    p50_ms = {side: statistics.median(each["p50_ms"] for each in quiet[side]) for side in sides}
    report("ingress_throughput", "requests/s", rate["ours"], rate["peer"], PEER_NAME)
    report("ingress_latency_p50", "ms", p50_ms["ours"], p50_ms["peer"], PEER_NAME)


def _measure(
    sides: dict[str, tuple[str, int]], *, connections: int, seconds: float, rounds: int
) -> dict[str, list[dict[str, float]]]:
    figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, (path, port) in sides.items():
            first_id = 10**8 + time.monotonic_ns() // 1000 % (8 * 10**8)
            command = [sys.executable, "-m", "benchmarks.http_load", path, str(port)]
            command += [str(connections), str(seconds), str(first_id)]
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
            figures[side].append(json.loads(said.splitlines()[-1]))
            if figures[side][-1]["refused"]:
                raise RuntimeError(f"{side}: {figures[side][-1]} instead of only answers with 200")
    return figures


@contextmanager
def _ours(kafka: RealKafka, folder: Path) -> Iterator[int]:
    """The ingress with its defaults: a token to check, and a log line per webhook; only the limits are out of reach."""
    write_project(folder)
    environment = {"CHATLEDGER_PROJECTS": str(folder), "CHAT2DESK_WEBHOOK_TOKEN": TOKEN}
    with _process(["-m", "chatledger_ingress"], kafka, folder / "ours.log", environment) as port:
        yield port


@contextmanager
def _peer(kafka: RealKafka, folder: Path) -> Iterator[int]:
    arguments = ["-m", "uvicorn", "benchmarks.ingress_peer:app", "--no-access-log", "--loop", "uvloop"]
    with _process(arguments, kafka, folder / "peer.log", {}) as port:
        yield port


@contextmanager
def _process(arguments: list[str], kafka: RealKafka, log_file: Path, environment: dict[str, str]) -> Iterator[int]:
    port = free_port()
    if "uvicorn" in arguments:
        arguments = [*arguments, "--port", str(port)]
    environment = {**os.environ, **environment, "CHATLEDGER_BROKER": kafka.bootstrap_servers, "PORT": str(port)}
    with log_file.open("w") as log:
        process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=log, stderr=log)
    try:
        _wait_for(port, process, log_file)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no answer at port {port}: {log_file.read_text()[-2000:]}")


if __name__ == "__main__":
    run()
