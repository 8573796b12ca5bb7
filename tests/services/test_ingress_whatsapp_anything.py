"""Whatever comes to WhatsApp's webhooks is answered: 401 where it is not signed, never a 5xx where it is."""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urlencode

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger.channels.meta import SIGNATURE
from chatledger.channels.signatures import hmac_text, url_and_fields_text
from chatledger.events.codec import from_wire, to_wire
from chatledger_cli.webhooks import Webhook, meta_webhook, twilio_message, twilio_webhook
from tests.channels.test_channel_signatures import changed, fields_of
from tests.services.ingress_app import APP_SECRET, AUTH_TOKEN, Ingress, post_webhook, whatsapp_ingress

PATH = "/whatsapp/webhook"
URL = f"http://ingress{PATH}"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
MUTANTS = 10_000

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_FORM_NAMES = st.sampled_from(
    ["MessageSid", "SmsSid", "From", "To", "Body", "MessageStatus", "SmsStatus", "ErrorCode", "ProfileName", "NumMedia"]
)
_FORM_VALUES = _TEXT | st.sampled_from(["SM1", "whatsapp:+919900000001", "received", "read", "failed", "brand-new"])
_NAMES = st.sampled_from(
    [
        "id",
        "from",
        "type",
        "text",
        "body",
        "status",
        "recipient_id",
        "errors",
        "profile",
        "name",
        "wa_id",
        "interactive",
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
    | st.sampled_from(["wamid.1", "919900000001", "text", "interactive", "sent"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


def signed_form(fields: Mapping[str, list[str]]) -> Webhook:
    signature = url_and_fields_text(URL, fields, AUTH_TOKEN, "sha1")
    headers = FORM | {"x-twilio-signature": signature}
    return Webhook(client_id="", headers=headers, body=urlencode(fields, doseq=True).encode())


def signed_json(body: bytes) -> Webhook:
    headers = JSON | {SIGNATURE.header: hmac_text(SIGNATURE, APP_SECRET, body)}
    return Webhook(client_id="", headers=headers, body=body)


def assert_readable_again(service: Ingress) -> None:
    for envelope in service.publisher.envelopes:
        wire = to_wire(envelope)
        assert from_wire(wire.headers, wire.value) == envelope


async def test_ten_thousand_mutants_of_signed_webhooks_are_401():
    """Octets of the body or of the signature are changed; what still says the same is not a mutant."""
    service, chance = whatsapp_ingress(), random.Random(20260105)
    form = twilio_webhook(twilio_message("Cement x 100", "+919900000001", 1), url=URL, token=AUTH_TOKEN)
    batch = meta_webhook("Cement x 100", "+919900000001", 1, secret=APP_SECRET)
    signature_headers = {id(form): "x-twilio-signature", id(batch): "x-hub-signature-256"}
    answered: dict[int, int] = {}
    while sum(answered.values()) < MUTANTS:
        webhook = chance.choice((form, batch))
        body, headers = webhook.body, dict(webhook.headers)
        if chance.random() < 0.7:
            body = changed(body, chance)
            if webhook is form and fields_of(body) == fields_of(form.body):
                continue
        else:
            name = signature_headers[id(webhook)]
            headers[name] = changed(headers[name].encode(), chance).decode("latin-1")
        status = await status_of(service, headers, body)
        answered[status] = answered.get(status, 0) + 1
    assert answered == {401: MUTANTS}
    assert service.publisher.published == []


@given(body=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
async def test_any_octets_are_answered_without_a_5xx(body):
    service = whatsapp_ingress()

    as_form = await post_webhook(
        service, PATH, Webhook(client_id="", headers=FORM | {"x-twilio-signature": "x"}, body=body)
    )
    as_json = await post_webhook(service, PATH, signed_json(body))

    assert (as_form.status_code, as_json.status_code in (400, 422)) == (401, True)


@given(fields=st.dictionaries(_FORM_NAMES | _TEXT, st.lists(_FORM_VALUES, min_size=1, max_size=2), max_size=8))
@settings(max_examples=300, deadline=None)
async def test_any_signed_form_is_taken_or_refused_and_what_is_taken_can_be_read_again(fields):
    service = whatsapp_ingress()

    answer = await post_webhook(service, PATH, signed_form(fields))

    assert answer.status_code in (200, 422)
    assert (answer.status_code == 200) is bool(service.publisher.published)
    assert_readable_again(service)


@given(
    messages=_VALUES | st.lists(_VALUES, max_size=3),
    statuses=_VALUES | st.lists(_VALUES, max_size=3),
    contacts=_VALUES | st.lists(_VALUES, max_size=3),
    metadata=_VALUES,
    change=_VALUES,
    account=_VALUES,
)
@settings(max_examples=300, deadline=None)
async def test_nothing_of_any_signed_batch_is_dropped(messages, statuses, contacts, metadata, change, account):
    service = whatsapp_ingress()
    value = {"messages": messages, "statuses": statuses, "contacts": contacts, "metadata": metadata}
    changes: list[Any] = [{"field": "messages", "value": value}, change]
    batch = {"object": "whatsapp_business_account", "entry": [{"id": account, "changes": changes}]}

    answer = await post_webhook(service, PATH, signed_json(orjson.dumps(batch)))

    assert answer.status_code == 200
    told = sum(len(each) for each in (messages, statuses) if isinstance(each, list))
    assert len(service.publisher.published) == max(told, 1) + 1
    assert_readable_again(service)


async def status_of(service: Ingress, headers: Mapping[str, str], body: bytes) -> int:
    """The status that a POST is answered with. Straight to the application: a client library costs more than it."""
    told: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"ingress"),
            *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
        ],
    }
    await service.app(scope, receive, send)
    return told[0]
