"""`chatledger up` on real Kafka and real Postgres, for as long as a benchmark needs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.kafka import RealKafka
from tests.support.postgres import fresh_database, temporary_postgres

TOKEN = "benchmark-token"
START_TIMEOUT_S = 60
PROJECT = Path(__file__).resolve().parents[1] / "projects" / "order-form.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running chatledger: its HTTP port, and the supervisor's process."""

    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def running_system(provider_url: str) -> Iterator[System]:
    """Start everything, yield it when it is healthy, and stop it. Raises RuntimeError when it does not come up."""
    with (
        RealKafka() as kafka,
        temporary_postgres() as server,
        fresh_database(server) as database,
        tempfile.TemporaryDirectory() as folder,
    ):
        port = free_port()
        (Path(folder) / "projects").mkdir()
        write_project(Path(folder) / "projects")
        environment = os.environ | {
            "CHATLEDGER_BROKER": kafka.bootstrap_servers,
            "CHATLEDGER_DATABASE": database,
            "CHATLEDGER_DATA_DIR": folder,
            "CHATLEDGER_PROJECTS": f"{folder}/projects",
            "CHAT2DESK_API_URL": provider_url,
            "CHAT2DESK_API_TOKEN": "api-token",
            "CHAT2DESK_WEBHOOK_TOKEN": TOKEN,
            "PORT": str(port),
        }
        log_file = Path(folder) / "up.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "chatledger_cli.main", "up"], env=environment, stdout=log, stderr=log
            )
        try:
            _wait_until_healthy(port, process, log_file)
            yield System(port=port, process=process)
        finally:
            process.terminate()
            process.wait(30)


def write_project(folder: Path) -> None:
    """Write the example project with its limits out of reach."""
    text = PROJECT.read_text(encoding="utf-8")
    for limit in ("webhooks_per_second: 2000", "webhooks_per_minute_and_client: 300"):
        assert limit in text
        text = text.replace(limit, f"{limit.partition(':')[0]}: 10000000")
    (folder / PROJECT.name).write_text(text, encoding="utf-8")


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"chatledger did not come up: {log_file.read_text()[-3000:]}")
