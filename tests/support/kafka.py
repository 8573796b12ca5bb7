"""A real Apache Kafka, one node in KRaft mode, for tests and benchmarks.

Its jars come from Maven by deploy/kafka/pom.xml, once, into deploy/kafka/target (54 MB). Needs Java 17 or newer
and Maven. Where these are missing `require_java_and_maven` skips the test that asks, and fails it under CI=true.

    with RealKafka() as kafka:
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import string
import struct
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

import pytest

DEPLOY_DIR = Path(__file__).resolve().parents[2] / "deploy" / "kafka"
POM = DEPLOY_DIR / "pom.xml"
PROPERTIES_TEMPLATE = DEPLOY_DIR / "server.properties"
TARGET_DIR = DEPLOY_DIR / "target"

JAVA_MAJOR_VERSION_MIN = 17
_MAVEN_TIMEOUT_S = 300
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_POLL_PAUSE_S = 0.05


def java_and_maven_missing() -> str | None:
    """Why a real Kafka cannot run on this machine, or None when it can."""
    if shutil.which("java") is None:
        return f"Java is missing: install a JDK or JRE {JAVA_MAJOR_VERSION_MIN} or newer"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_MAJOR_VERSION_MIN:
        return f"Java {JAVA_MAJOR_VERSION_MIN} or newer is missing; this one is {said.splitlines()[:1]}"
    if not _jars_complete_marker().exists() and shutil.which("mvn") is None:
        return "Maven is missing: install mvn, which brings the jars of Kafka"
    return None


def require_java_and_maven() -> None:
    """Skips the running test with the reason where Kafka cannot run; fails it where CI=true."""
    reason = java_and_maven_missing()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"no real Kafka, and CI=true asks for one: {reason}")
    pytest.skip(f"no real Kafka: {reason}")


def ensure_jars() -> Path:
    """The folder of Kafka's jars, filled by Maven at the first call for this pom.xml. Raises RuntimeError."""
    TARGET_DIR.mkdir(exist_ok=True)
    jars_dir = TARGET_DIR / "dependency"
    # Several test runs may start at once; one of them fetches, the others wait.
    with (TARGET_DIR / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _jars_complete_marker().exists():
            return jars_dir
        shutil.rmtree(jars_dir, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        command.append(f"-DoutputDirectory={jars_dir}")
        result = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"Maven could not bring Kafka: {(result.stdout + result.stderr)[-2000:]}")
        _jars_complete_marker().touch()
    return jars_dir


def _jars_complete_marker() -> Path:
    return TARGET_DIR / f"complete-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


class RealKafka:
    """One Kafka node on free loopback ports, which it keeps, with its data in a folder of its own."""

    def __init__(self, *, heap_mb: int = 512) -> None:
        self._heap_mb = heap_mb
        self._home = Path(tempfile.mkdtemp(prefix="chatledger-kafka-"))
        self._port, self._controller_port = _free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address, `host:port`, for clients; the same over restarts."""
        return f"127.0.0.1:{self._port}"

    @property
    def process_id(self) -> int:
        """The process id of the running broker. Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("Kafka is not running: call start() first")
        return self._process.pid

    @property
    def log_text(self) -> str:
        """What the broker has written to its log so far: warnings and errors."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    @property
    def _log_file(self) -> Path:
        return self._home / "kafka.log"

    def start(self) -> RealKafka:
        """Starts the broker on its data and returns itself once it answers. Raises RuntimeError.

        Takes 2 s, and 6 s after a kill: Kafka waits until the session of the killed broker is over.
        """
        if self._process is not None:
            return self
        properties = self._home / "server.properties"
        if not properties.exists():
            self._format(properties)
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                # Ctrl-C in a terminal goes to the tests, which then stop the broker in order.
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Shuts the broker down in order; its data stay for the next start."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kills the broker with SIGKILL; its data stay as they are."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stops the broker if it runs, and starts it on the same port and data."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Stops the broker and forgets its data: the next start is a new cluster on the same port."""
        self.stop()
        shutil.rmtree(self._home / "data", ignore_errors=True)
        (self._home / "server.properties").unlink(missing_ok=True)

    def close(self) -> None:
        """Stops the broker and removes its folder."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _format(self, properties: Path) -> None:
        template = string.Template(PROPERTIES_TEMPLATE.read_text())
        properties.write_text(
            template.substitute(port=self._port, controller_port=self._controller_port, log_dir=self._home / "data")
        )
        command = self._java("kafka.tools.StorageTool", "format", "-c", str(properties))
        command.append(f"--cluster-id={_new_cluster_id()}")
        result = subprocess.run(command, capture_output=True, text=True, cwd=self._home, check=False)
        if result.returncode != 0:
            properties.unlink()
            raise RuntimeError(f"Kafka's storage could not be formatted: {result.stdout + result.stderr}")

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        return [
            "java",
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
            f"{ensure_jars()}/*",
            main_class,
            *arguments,
        ]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Kafka ended while it started: {self.log_text[-3000:]}")
            if _answers(self._port):
                return
            time.sleep(_POLL_PAUSE_S)
        raise RuntimeError(f"Kafka did not answer in {_START_TIMEOUT_S} s: {self.log_text[-3000:]}")

    def __enter__(self) -> RealKafka:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _answers(port: int) -> bool:
    """Asks for the API versions. Kafka opens its port early, and answers only when it is in service."""
    client = b"tests"
    request = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return len(connection.recv(4)) == 4
    return False


def _free_ports(count: int) -> list[int]:
    # All are held open until the last is chosen, so that no two are the same.
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
