"""Webhooks through the whole application: what is taken, under which ids, and how each bad input is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger.errors import BrokerUnavailable
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived, WebhookNoted
from chatledger.projects import Limits
from tests.services.ingress_app import JSON, NOW, PATH, PROJECT_PATH, PROJECTS, REFERENCE, ingress

PROVIDER = {
    "hook_type": "inbox",
    "type": "from_client",
    "message_id": 970590378,
    "client_id": 77,
    "dialog_id": 5,
    "channel_id": 12,
    "transport": "whatsapp",
    "text": "hello",
    "client": {"phone": "919876543210"},
    "brand_new_field": [1, None],
}


def assert_problem(answer: Any, status: int, title: str) -> dict[str, Any]:
    """The answer is a problem document of that status; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:chatledger:problem:{title}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    return problem


@pytest.mark.parametrize("body", [REFERENCE, PROVIDER])
@pytest.mark.parametrize("path", [PATH, PROJECT_PATH])
async def test_both_body_forms_are_published_before_they_are_acknowledged(body, path):
    service = ingress()

    answer = await service.post(body, path=path)

    assert (answer.status_code, answer.content) == (200, b'{"success": true}')
    assert answer.headers["content-type"] == "application/json"
    [(topic, envelope)] = service.publisher.published
    assert topic == "chat.inbound"
    assert answer.headers["x-event-id"] == envelope.id
    assert envelope.conversation == "order-form/chat2desk/77"
    assert (envelope.source, envelope.time, envelope.correlation_id) == ("/chatledger/ingress", NOW, envelope.id)
    assert isinstance(envelope.data, MessageReceived)
    assert (envelope.data.text, envelope.data.raw) == ("hello", body)
    wire = to_wire(envelope)
    assert from_wire(wire.headers, wire.value) == envelope


async def test_the_id_comes_from_the_providers_message_id():
    service = ingress()

    answers = [await service.post(REFERENCE | {"message_id": message_id}) for message_id in (1, "1", 2)]

    ids = [answer.headers["x-event-id"] for answer in answers]
    assert ids[0] == ids[1] == derive_id("order-form", "chat2desk", "inbox", "from_client", "1")
    assert ids[2] != ids[0]


@pytest.mark.parametrize(
    ("hook_type", "type_"), [("outbox", "to_client"), ("close_dialog", "x"), ("inbox", "to_client")]
)
async def test_what_no_client_wrote_is_noted(hook_type, type_):
    service = ingress()

    answer = await service.post(PROVIDER | {"hook_type": hook_type, "type": type_})

    assert answer.status_code == 200
    assert isinstance(service.publisher.envelopes[0].data, WebhookNoted)


async def test_an_echo_with_a_messages_id_is_another_event():
    service = ingress()

    message = await service.post(PROVIDER)
    echo = await service.post(PROVIDER | {"hook_type": "outbox", "type": "to_client"})

    assert message.headers["x-event-id"] != echo.headers["x-event-id"]


@pytest.mark.parametrize(
    ("given_header", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_a_valid_traceparent_is_kept_and_an_invalid_one_replaced(given_header, kept):
    service = ingress()

    await service.post(headers={"traceparent": given_header})

    [envelope] = service.publisher.envelopes
    assert (envelope.traceparent == given_header) is kept
    assert (envelope.traceparent or "").startswith("00-")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b'{"client_id": 1, "message_id": 2, "text": "\xc3"}',
        b'{"client_id": 1, "message_id": 2, "text": "\\ud800"}',
        b'{"client_id": 1, "message_id": 2, "text": "a", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"client_id": 1, "message_id": 2, "text": "a", "x": ' + b'{"y":' * 60 + b"1" + b"}" * 60 + b"}",
        b'{"client_id": NaN, "message_id": 2, "text": "a"}',
    ],
)
async def test_a_malformed_body_is_400(body):
    service = ingress()

    assert_problem(await service.post(body), 400, "malformed-body")
    assert service.publisher.published == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"client_id": None, "message_id": None, "text": None}, {"client_id", "message_id", "text"}),
        ({"client_id": 1.5}, {"client_id"}),
        ({"client_id": True, "message_id": False}, {"client_id", "message_id"}),
        ({"message_id": 10**30}, {"message_id"}),
        ({"message_id": "1" * 129}, {"message_id"}),
        ({"client_id": ""}, {"client_id"}),
        ({"client_id": "a/b"}, {"client_id"}),
        ({"client_id": "a\x00"}, {"client_id"}),
        ({"client_id": {"id": 1}}, {"client_id"}),
        ({"text": ["a"]}, {"text"}),
        ({"text": True}, {"text"}),
    ],
)
async def test_wrong_fields_are_422_by_name(change, wrong):
    service = ingress()
    fields = {name: value for name, value in (REFERENCE | change).items() if value is not None}
    # The standard library writes integers of any size; orjson reads them as floats.
    body = orjson.dumps(fields) if "message_id" not in change else str(fields).replace("'", '"').encode()
    body = body.replace(b"True", b"true").replace(b"False", b"false")

    problem = assert_problem(await service.post(body), 422, "invalid-fields")

    assert {each["field"] for each in problem["errors"]} == wrong
    assert all(each["detail"] for each in problem["errors"])
    assert service.publisher.published == []


async def test_nul_characters_are_replaced():
    service = ingress()

    answer = await service.post(REFERENCE | {"text": "a\x00b", "more": {"k\x00": ["\x00"]}})

    assert answer.status_code == 200
    [envelope] = service.publisher.envelopes
    assert isinstance(envelope.data, MessageReceived)
    assert envelope.data.text == "a\ufffdb"
    assert b"\\u0000" not in to_wire(envelope).value


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_another_media_type_is_415(media_type):
    assert_problem(await ingress().post(headers={"content-type": media_type}), 415, "wrong-media-type")


async def test_a_charset_does_not_disturb():
    answer = await ingress().post(headers={"content-type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 200


async def test_ten_megabytes_are_413_whether_declared_or_not():
    service = ingress()
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(160):
            taken += 1
            yield b" " * 65_536

    assert_problem(await service.post(b" " * 10_485_760), 413, "body-too-large")
    async with service.client() as client:
        assert_problem(await client.post(PATH, content=chunks(), headers=JSON), 413, "body-too-large")
    assert service.publisher.published == []
    assert taken <= 3


async def test_a_chunked_body_without_a_length_is_taken():
    service = ingress()

    async def chunks() -> AsyncIterator[bytes]:
        for byte in orjson.dumps(REFERENCE):
            yield bytes([byte])

    async with service.client() as client:
        answer = await client.post(PATH, content=chunks(), headers=JSON)

    assert answer.status_code == 200
    assert len(service.publisher.published) == 1


@pytest.mark.parametrize("length", ["-1", "x", "٣"])
async def test_a_length_that_is_no_number_is_400(length):
    answer = await ingress().post(headers={"content-length": length.encode()})
    assert_problem(answer, 400, "malformed-body")


@pytest.mark.parametrize(
    "path",
    ["/webhook/chat2desk/nobody", "/webhook/telegram", "/webhook/", "/webhook/chat2desk/", "/webhook/a/b/c"],
)
async def test_an_unknown_channel_or_project_is_404(path):
    assert_problem(await ingress().post(path=path), 404, "unknown-project")


async def test_the_bare_path_is_the_default_projects_and_404_where_none_is():
    example = PROJECTS["order-form"]
    channel = example.channels["chat2desk"]
    other = replace(example, name="other", channels={"chat2desk": replace(channel, default=False)})
    service = ingress(more_projects={"other": other})

    await service.post()
    await service.post(path="/webhook/chat2desk/other")

    assert [each.conversation.split("/")[0] for each in service.publisher.envelopes] == ["order-form", "other"]


async def test_only_post_is_allowed():
    async with ingress().client() as client:
        answer = await client.get(PATH)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


async def test_the_projects_limit_is_429_until_time_has_passed():
    service = ingress(limits=Limits(webhooks_per_second=2))

    answers = [await service.post(REFERENCE | {"message_id": number, "client_id": number}) for number in range(3)]
    service.seconds.now += 0.5
    later = await service.post()

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_problem(answers[2], 429, "too-many-requests")
    assert int(answers[2].headers["retry-after"]) >= 1
    assert later.status_code == 200


async def test_one_clients_limit_leaves_the_others_alone():
    service = ingress(limits=Limits(webhooks_per_minute_and_client=3))

    answers = [await service.post(REFERENCE | {"message_id": number}) for number in range(4)]
    other = await service.post(REFERENCE | {"client_id": 78})

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"] == "20"
    assert other.status_code == 200


async def test_without_the_brokers_acknowledgement_it_is_503():
    service = ingress()
    service.publisher.fails_with = BrokerUnavailable("10.0.0.7:9092 is away")

    answer = await service.post()

    problem = assert_problem(answer, 503, "broker-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "10.0.0.7" not in problem["detail"]
    assert "x-event-id" not in answer.headers


async def test_an_unexpected_error_is_500_and_says_nothing_of_its_cause():
    service = ingress()
    service.publisher.fails_with = RuntimeError("secret")

    answer = await service.post()

    assert_problem(answer, 500, "unexpected-error")
    assert "secret" not in answer.text


@given(body=st.binary(max_size=300) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
@settings(max_examples=200, deadline=None)
async def test_any_body_is_answered_without_a_5xx(body):
    answer = await ingress().post(body if isinstance(body, bytes) else repr(body).encode("utf-8", "surrogatepass"))
    assert answer.status_code in (200, 400, 422)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(PROVIDER)), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.sampled_from(sorted(PROVIDER)), _VALUES))
@settings(max_examples=200, deadline=None)
async def test_any_object_is_taken_or_refused_and_what_is_taken_can_be_read_again(fields):
    service = ingress()

    answer = await service.post(orjson.dumps(fields))

    assert answer.status_code in (200, 422)
    for envelope in service.publisher.envelopes:
        wire = to_wire(envelope)
        assert from_wire(wire.headers, wire.value) == envelope
