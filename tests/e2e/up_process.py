"""`chatledger up` as a process of its own, as an operator starts it, and the other commands beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from chatledger_cli.webhooks import TWILIO_ACCOUNT, WHATSAPP_NUMBER

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TOKEN = "e2e-token"
TWILIO_TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC_BASE_URL = "https://store.example"
"""What Twilio knows us by, as behind a proxy: the address that it signs is not the one that we listen on."""
NOT_OURS = ("CHATLEDGER_", "CHAT2DESK_", "TWILIO_", "META_", "WHATSAPP_", "PUBLIC_BASE_URL")
"""Settings of whoever runs the tests."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


def until(condition: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
    """Ask until the answer is true, and return it. Raises AssertionError when it does not become so in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.05)
    return answer


class UpProcess:
    """One folder with its settings: `start()` and `stop()` any number of times, `run()` for other commands."""

    def __init__(self, folder: Path, *, provider_url: str = "", broker: str = "", database: str = "") -> None:
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        ours = {
            "CHATLEDGER_PROJECTS": str(PROJECTS),
            "CHATLEDGER_DATA_DIR": str(folder / "var"),
            "CHATLEDGER_BROKER": broker,
            "CHATLEDGER_DATABASE": database,
            "CHAT2DESK_WEBHOOK_TOKEN": f"{TOKEN}, the-one-before",
            "CHAT2DESK_API_URL": provider_url,
            "TWILIO_API_URL": provider_url,
            "TWILIO_SID": TWILIO_ACCOUNT,
            "TWILIO_AUTH_TOKEN": TWILIO_TOKEN,
            "TWILIO_WHATSAPP_NUMBER": WHATSAPP_NUMBER,
            "PUBLIC_BASE_URL": PUBLIC_BASE_URL,
            "PORT": "0",
        }
        self.environment = own | {name: value for name, value in ours.items() if value}
        self.process: subprocess.Popen[str] | None = None
        self.state: dict[str, Any] = {}

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state['port']}"

    def start(self) -> UpProcess:
        """Start it, and return when it is healthy."""
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chatledger_cli.main", "up", "--json"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        until(self._has_started, timeout_s=START_TIMEOUT_S, what="chatledger up is healthy")
        self.state = json.loads((self.folder / "var" / "up.json").read_text())
        return self

    def _has_started(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"chatledger up ended: {self.log[-3000:]}"
        return (self.folder / "var" / "up.json").exists()

    def stop(self) -> int:
        """End it by SIGTERM; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def end(self) -> None:
        """End it in order where it still runs, so that its Postgres ends too."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.kill()

    def kill(self) -> None:
        """End it whatever state it is in; its services end by themselves, an embedded Postgres stays for the next."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def child(self, module: str) -> psutil.Process:
        """The running process of one service."""
        assert self.process is not None

        def find() -> psutil.Process | None:
            for process in psutil.Process(self.process.pid).children():  # type: ignore[union-attr]  # asserted above
                if module in process.cmdline():
                    return process
            return None

        found: psutil.Process = until(find, timeout_s=10, what=f"{module} runs")
        return found

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another command with the same settings."""
        result = subprocess.run(
            [sys.executable, "-m", "chatledger_cli.main", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result

    def client(self) -> httpx.Client:
        """An HTTP client that knows the token; close it."""
        return httpx.Client(base_url=self.url, headers={"x-webhook-token": TOKEN}, trust_env=False, timeout=30)
