"""The ingress as a process: a drain loses nothing, and a configuration that is not usable ends it with 2."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from chatledger.adapters.embedded_broker import EmbeddedBroker
from tests.services.ingress_process import IngressProcess, running_ingress, stored_ids

BODY = b'{"client_id": 77, "message_id": 1, "text": "hello"}'
HEAD = b"POST /webhook/chat2desk HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


async def test_sigterm_answers_what_is_in_flight_and_exits_with_0(broker, tmp_path):
    with running_ingress({"CHATLEDGER_BROKER": broker.bootstrap_servers}, tmp_path) as (ingress, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(HEAD % len(BODY) + BODY[:10])
            # Once this second request is answered, the first is known to be in the process.
            await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/")
            ingress.process.send_signal(signal.SIGTERM)
            wait_until_refused(port)
            assert ingress.process.poll() is None
            connection.sendall(BODY[10:])
            answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        event_id = answer.split(b"x-event-id: ")[1].split(b"\r\n")[0].decode()
        assert ingress.process.wait(15) == 0
        assert event_id in await stored_ids(broker.bootstrap_servers)


def test_a_request_that_never_ends_does_not_keep_it_from_stopping(broker, tmp_path):
    environment = {"CHATLEDGER_BROKER": broker.bootstrap_servers, "CHATLEDGER_DRAIN_TIMEOUT_S": "1"}
    with (
        running_ingress(environment, tmp_path) as (ingress, port),
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(HEAD % len(BODY) + BODY[:10])
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        ingress.process.send_signal(signal.SIGTERM)
        assert ingress.process.wait(15) == 0


def test_it_stops_in_bounded_time_while_the_broker_is_away(tmp_path):
    own_broker = EmbeddedBroker().start()
    try:
        with running_ingress({"CHATLEDGER_BROKER": own_broker.bootstrap_servers}, tmp_path) as (ingress, port):
            url = f"http://127.0.0.1:{port}/webhook/chat2desk"
            body = {"client_id": 1, "message_id": 1, "text": "a"}
            assert httpx.post(url, json=body).status_code == 200
            own_broker.stop()
            assert httpx.post(url, json=body, timeout=10).status_code == 503
            ingress.process.send_signal(signal.SIGTERM)
            assert ingress.process.wait(20) == 0
    finally:
        own_broker.stop()


def test_its_log_has_the_correlation_id_and_no_personal_data(broker, tmp_path):
    with running_ingress({"CHATLEDGER_BROKER": broker.bootstrap_servers}, tmp_path) as (ingress, port):
        body = {"client_id": "client-4711", "message_id": 5, "text": "Baker Street 221b"}
        answer = httpx.post(f"http://127.0.0.1:{port}/webhook/chat2desk?token=s3cret", json=body)

        lines = [json.loads(line) for line in ingress.log.splitlines()]
        [line] = [line for line in lines if line["event"] == "webhook.acknowledged"]
        assert line["correlation_id"] == line["event_id"] == answer.headers["x-event-id"]
        assert not any(private in ingress.log for private in ("client-4711", "Baker Street", "s3cret"))


def test_health_counts_what_the_dialog_has_not_read(broker, tmp_path):
    with running_ingress({"CHATLEDGER_BROKER": broker.bootstrap_servers}, tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        before = httpx.get(f"{url}/health").json()["checks"]["queues"]["message"]
        for number in range(100, 105):
            httpx.post(f"{url}/webhook/chat2desk", json={"client_id": 1, "message_id": number, "text": "a"})
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            after = httpx.get(f"{url}/health").json()["checks"]["queues"]["message"]
            if after == before + 5:
                return
            time.sleep(0.1)
        raise AssertionError(f"{before} before, {after} after five more")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"CHATLEDGER_BROKER": "127.0.0.1:1", "HOST": "0.0.0.0"}, "CHAT2DESK_WEBHOOK_TOKEN"),
        ({}, "CHATLEDGER_BROKER"),
        ({"CHATLEDGER_BROKER": "127.0.0.1:1", "PORT": "http"}, "PORT"),
        ({"CHATLEDGER_BROKER": "127.0.0.1:1", "CHATLEDGER_PROJECTS": "nowhere"}, "CHATLEDGER_PROJECTS"),
        ({"CHATLEDGER_BROKER": "127.0.0.1:1", "HOST": "203.0.113.1", "CHAT2DESK_WEBHOOK_TOKEN": "a"}, "HOST"),
    ],
)
def test_a_configuration_that_is_not_usable_exits_with_2_and_names_it(environment, named, tmp_path):
    ingress = IngressProcess(environment, tmp_path / "ingress.log")

    assert ingress.process.wait(30) == 2
    assert named in ingress.log.splitlines()[-1]
    assert "Traceback" not in ingress.log


def wait_until_refused(port: int) -> None:
    """Return when the process takes no more connections."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except ConnectionRefusedError:
                return
        time.sleep(0.02)
    raise AssertionError("it still takes connections")
