"""A process that cannot serve its metrics where it is told to says so and does not start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

START = """
import sys
from chatledger.process import run_process
from chatledger.settings import CommonSettings

async def run(settings, stop):
    raise AssertionError("it must not start")

sys.exit(run_process("probe", CommonSettings, run))
"""


@pytest.mark.parametrize("wanted", ["taken", "99999"])
def test_a_metrics_port_that_cannot_be_had_is_a_configuration_error(wanted: str) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1]) if wanted == "taken" else wanted
        environment = os.environ | {"CHATLEDGER_BROKER": "localhost:1", "CHATLEDGER_METRICS_PORT": port}
        ended = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "CHATLEDGER_METRICS_PORT" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
