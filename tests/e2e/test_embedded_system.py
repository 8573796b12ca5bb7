"""The whole line on the embedded default, over HTTP and the command line, as an operator and a provider see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from chatledger.adapters.kafka import start_producer
from tests.e2e.dialogue import TEXTS, check_what_came_of_it, order, say, webhook
from tests.e2e.up_process import UpProcess, until
from tests.support.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def system(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    up = UpProcess(tmp_path_factory.mktemp("embedded"), provider_url=provider.url)
    try:
        yield up.start()
        assert up.stop() == 0, up.log[-3000:]
        assert not (up.folder / "var" / "up.json").exists()
        assert "were not recorded" not in up.log
    finally:
        up.end()


@pytest.fixture
def http(system: UpProcess) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client


GOOD = b'{"client_id": 1, "message_id": 2, "text": "hi"}'
BAD_INPUT = {
    "not JSON": (400, GOOD[:-1], {}),
    "not UTF-8": (400, b'{"client_id": 1, "message_id": 2, "text": "\xff"}', {}),
    "not an object": (400, b"[]", {}),
    "no token": (401, GOOD, {"x-webhook-token": ""}),
    "another's token": (401, GOOD, {"x-webhook-token": "guess"}),
    "too large": (413, b'{"text": "' + b"x" * 70_000 + b'"}', {}),
    "another type": (415, GOOD, {"content-type": "text/plain"}),
    "fields missing": (422, b"{}", {}),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_a_problem_that_says_what_is_wrong(name: str, http: httpx.Client) -> None:
    status, body, headers = BAD_INPUT[name]
    answer = http.post("/webhook/chat2desk", content=body, headers={"content-type": "application/json"} | headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    if status == 422:
        assert all(name in problem["detail"] for name in ("client_id", "message_id", "text"))


def test_an_unknown_project_and_another_method(http: httpx.Client) -> None:
    assert http.post("/webhook/chat2desk/nobody", json={}).status_code == 404
    assert http.get("/webhook/chat2desk").status_code == 405


def test_one_client_cannot_flood(http: httpx.Client) -> None:
    body = webhook(999, "again and again")
    answers = [http.post("/webhook/chat2desk", json=body) for _ in range(320)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len({answer.headers["x-event-id"] for answer in answers if answer.status_code == 200}) == 1


def test_a_customer_orders_in_english(system: UpProcess, provider: ScriptedProvider, http: httpx.Client) -> None:
    number = order(http, provider, 101)
    check_what_came_of_it(system, http, number, 101)


def test_the_state_of_a_moment_ago(system: UpProcess, provider: ScriptedProvider, http: httpx.Client) -> None:
    for text in TEXTS[:2]:
        say(http, provider, 102, text)
    system.run("verify", "--settle", "20")  # also waits until what was said is recorded
    moment = datetime.now(UTC).isoformat()
    for text in TEXTS[2:]:
        say(http, provider, 102, text)
    system.run("verify", "--settle", "20")
    then = json.loads(system.run("state", "order-form/chat2desk/102", "--at", moment, "--json").stdout)
    now = json.loads(system.run("state", "order-form/chat2desk/102", "--json").stdout)
    assert (then["status"], then["phone"]) == ("WAITING_PHONE", None)
    assert (now["status"], now["phone"]) == ("COMPLETED", "+442079460018")


def test_two_replays_agree(system: UpProcess) -> None:
    system.run("verify", "--settle", "20")
    first, second = (json.loads(system.run("replay", "--json").stdout.splitlines()[-1]) for _ in range(2))
    assert first["state_hash"] == second["state_hash"]
    assert first["events"] == second["events"] > 0


def test_send_and_tail(system: UpProcess, provider: ScriptedProvider) -> None:
    system.environment["CHAT2DESK_WEBHOOK_TOKEN"] = "e2e-token"
    sent = system.run("send", "Здравствуйте", "--client", "103", "--follow")
    assert sent.stdout.startswith("200 acknowledged in ")
    assert "Какой адрес доставки?" in sent.stdout
    only = ("--conversation", "order-form/chat2desk/103", "--since", "start", "--count", "3")
    lines = system.run("tail", *only).stdout.splitlines()
    assert len(lines) == 3
    events = [json.loads(line) for line in system.run("tail", *only, "--json").stdout.splitlines()]
    assert {event["conversation"] for event in events} == {"order-form/chat2desk/103"}
    # What was there before comes in the order in which it happened, over all topics.
    assert [event["type"] for event in events] == ["message.received", "conversation.started", "reply.requested"]
    typed = system.run(
        "tail", "--type", "reply.requested", "--topic", "chat.dialog", "--since", "start", "--count", "1"
    )
    assert " reply.requested " in typed.stdout


def test_send_says_why_it_was_refused(system: UpProcess) -> None:
    system.environment["CHAT2DESK_WEBHOOK_TOKEN"] = "wrong"
    refused = system.run("send", "hi", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: 401 ")
    assert "set CHAT2DESK_WEBHOOK_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_a_dead_letter_is_put_back_to_where_it_came_from(system: UpProcess) -> None:
    producer = await start_producer(system.state["broker"])
    try:
        await producer.send_and_wait("chat.inbound", b"not JSON", key=b"order-form/chat2desk/104")
    finally:
        await producer.stop()

    def letters() -> list[str]:
        listed = system.run("dead", "list").stdout.splitlines()
        return [line for line in listed if " dialog chat.inbound/" in line and "/104: " in line]

    [letter] = until(letters, timeout_s=20, what="a dead letter")
    assert "put back to chat.inbound" in system.run("dead", "put-back", letter.split()[0]).stdout
    until(lambda: len(letters()) == 2, timeout_s=20, what="its second try, which fails as well")


def test_topics_are_listed(system: UpProcess) -> None:
    listed = system.run("topics").stdout
    assert "chat.inbound" in listed
    assert "missing" not in listed


def test_metrics_of_all_processes_are_on_one_page(http: httpx.Client) -> None:
    page = http.get("/metrics").text
    for service in ("dialog", "billing", "notify", "ledger"):
        assert f'service="{service}"' in page
    assert "chatledger_webhooks_acknowledged_total{" in page


def test_a_second_up_on_the_same_folder_is_refused(system: UpProcess) -> None:
    refused = system.run("up", check=False)
    assert refused.returncode == 2
    assert f"already (process {system.state['pid']})" in refused.stderr
