"""WhatsApp's webhooks through the whole application: two channels on one path, their signatures and their answers."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import orjson
import pytest

from chatledger.channels import twilio
from chatledger.channels.base import InboundSecrets
from chatledger.channels.meta import SIGNATURE
from chatledger.channels.signatures import hmac_text, url_and_fields_text
from chatledger.events.ids import derive_id
from chatledger.events.inbound import DeliveryReported, MessageReceived, WebhookNoted
from chatledger.projects import ChannelSettings, Limits
from chatledger_cli.webhooks import Webhook, meta_webhook, twilio_message, twilio_webhook
from chatledger_ingress.secrets import Door
from tests.services.ingress_app import (
    APP_SECRET,
    AUTH_TOKEN,
    PROJECTS,
    VERIFY_TOKEN,
    ingress,
    post_webhook,
    whatsapp_ingress,
)
from tests.services.test_ingress_webhooks import assert_problem

BASE = "http://ingress"
PATH = "/whatsapp/webhook"
PATHS = (PATH, f"{PATH}/store", "/webhook/twilio", "/webhook/twilio/store")
CLIENT = "+919900000001"
TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
DELIVERY = "5d6e0c1e-0f5c-5c0e-9a57-000000000001"
QUESTION = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}


def message(url: str, text: str = "Cement x 100", message_id: int = 1, token: str = AUTH_TOKEN) -> Webhook:
    return twilio_webhook(twilio_message(text, CLIENT, message_id, name="Asha"), url=url, token=token)


def report(url: str, status: str) -> Webhook:
    form = {"MessageSid": "SM1", "MessageStatus": status, "From": "whatsapp:+14155238886", "To": f"whatsapp:{CLIENT}"}
    return twilio_webhook(form, url=url, token=AUTH_TOKEN)


@pytest.mark.parametrize("path", PATHS)
async def test_a_signed_form_is_published_and_answered_with_empty_twiml(path):
    service = whatsapp_ingress()

    answer = await post_webhook(service, path, message(BASE + path))

    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, TWIML, "text/xml")
    [(topic, envelope)] = service.publisher.published
    assert (topic, envelope.conversation) == ("chat.inbound", f"store/twilio/{CLIENT}")
    assert answer.headers["x-event-id"] == envelope.id == derive_id("store", "twilio", f"SM{1:032x}")
    assert isinstance(envelope.data, MessageReceived)
    assert (envelope.data.text, envelope.data.client_name) == ("Cement x 100", "Asha")


async def test_the_media_type_tells_the_two_channels_of_one_path_apart():
    service = whatsapp_ingress()

    form = await post_webhook(service, PATH, message(BASE + PATH))
    batch = await post_webhook(service, PATH, meta_webhook("Hi", CLIENT, 2, secret=APP_SECRET))

    assert (form.status_code, form.content) == (200, TWIML)
    assert (batch.status_code, batch.content) == (200, b'{"success": true}')
    assert [each.conversation for each in service.publisher.envelopes] == [
        f"store/twilio/{CLIENT}",
        f"store/meta/{CLIENT}",
    ]


async def test_a_webhook_sent_twice_has_one_id():
    service = whatsapp_ingress()

    twice = [await post_webhook(service, path, message(BASE + path)) for path in (PATH, PATHS[3])]
    other = await post_webhook(service, PATH, message(BASE + PATH, message_id=2))
    metas = [await post_webhook(service, PATH, meta_webhook("Hi", CLIENT, 3, secret=APP_SECRET)) for _ in range(2)]

    ids = [answer.headers["x-event-id"] for answer in (*twice, other, *metas)]
    assert ids[0] == ids[1]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 3


async def test_reports_say_which_delivery_they_are_about_and_are_an_event_for_each_status():
    service = whatsapp_ingress()
    path = f"{PATHS[3]}?delivery={DELIVERY}"

    answers = [await post_webhook(service, path, report(BASE + path, status)) for status in ("read", "sent", "read")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    ids = [answer.headers["x-event-id"] for answer in answers]
    assert (ids[0] == ids[2], ids[0] == ids[1]) == (True, False)
    for envelope, status in zip(service.publisher.envelopes, ("read", "sent", "read"), strict=True):
        assert envelope.conversation == f"store/twilio/{CLIENT}"
        assert isinstance(envelope.data, DeliveryReported)
        assert (envelope.data.delivery_id, envelope.data.status) == (DELIVERY, status)


async def test_a_batch_is_an_event_for_each_of_its_messages_and_names_the_first_of_them():
    service = whatsapp_ingress()
    one = orjson.loads(meta_webhook("Hi", CLIENT, 1, secret="").body)
    value = one["entry"][0]["changes"][0]["value"]
    value["messages"] = [value["messages"][0] | {"id": f"wamid.{number}"} for number in range(50)]
    one["entry"].append({"id": "1", "changes": [{"field": "account_update", "value": {}}]})

    answer = await post_webhook(service, PATH, _signed_by_meta(one))

    assert answer.status_code == 200
    published = service.publisher.envelopes
    assert [type(each.data) for each in published] == [*[MessageReceived] * 50, WebhookNoted]
    assert answer.headers["x-event-id"].split(",") == [each.id for each in published[:20]]
    assert len({each.id for each in published}) == 51


@pytest.mark.parametrize("path", [PATH, f"{PATH}/store", "/webhook/meta", "/webhook/twilio/store"])
async def test_who_knows_the_verify_token_gets_the_challenge_back(path):
    async with whatsapp_ingress().client() as client:
        answer = await client.get(path, params=QUESTION)

    assert (answer.status_code, answer.content) == (200, b"1158201444")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    "change",
    [
        {"hub.verify_token": "wrong"},
        {"hub.verify_token": ""},
        {"hub.mode": "unsubscribe"},
        {"hub.challenge": ""},
        {"hub.challenge": "<script>alert(1)</script>"},
        {"hub.challenge": "1" * 513},
        {"hub.challenge": "1\r\n"},
    ],
)
async def test_any_other_question_is_403(change):
    service = whatsapp_ingress()
    async with service.client() as client:
        assert_problem(await client.get(PATH, params=QUESTION | change), 403, "forbidden")
        assert_problem(await client.get(PATH), 403, "forbidden")


async def test_without_a_verify_token_every_question_is_403():
    service = whatsapp_ingress(channels=["twilio"], verify_tokens=())
    async with service.client() as client:
        problem = assert_problem(await client.get(PATH, params=QUESTION), 403, "forbidden")
    assert "WHATSAPP_VERIFY_TOKEN" in problem["detail"]


async def test_other_methods_and_paths_without_questions_are_405():
    async with whatsapp_ingress().client() as client:
        put = await client.put(PATH)
        asked = await client.get("/webhook/chat2desk", params=QUESTION)
    assert_problem(put, 405, "method-not-allowed")
    assert put.headers["allow"] == "GET, POST"
    assert_problem(asked, 405, "method-not-allowed")
    assert asked.headers["allow"] == "POST"


async def test_behind_a_proxy_the_public_address_is_what_was_signed():
    service = whatsapp_ingress(public_base_url="https://shop.example/bot/")
    path = f"{PATH}?delivery={DELIVERY}&note=a%20b"

    right = await post_webhook(service, path, report(f"https://shop.example/bot{path}", "sent"))
    with_port = await post_webhook(service, path, report(f"https://shop.example:443/bot{path}", "sent"))
    inner = await post_webhook(service, path, report(BASE + path, "sent"))

    assert (right.status_code, with_port.status_code) == (200, 200)
    assert "PUBLIC_BASE_URL" in assert_problem(inner, 401, "not-authentic")["detail"]


async def test_without_a_public_address_the_host_header_tells():
    service = whatsapp_ingress()
    async with service.client() as client:
        for host, status in (("shop.example", 200), ("shop.example:8000", 200), ("other.example", 401)):
            webhook = message(f"http://shop.example{PATH}")
            answer = await client.post(PATH, content=webhook.body, headers={**webhook.headers, "host": host})
            assert answer.status_code == status


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "", "application/xml"])
async def test_any_other_media_type_is_415(media_type):
    service = whatsapp_ingress()
    webhook = message(BASE + PATH)
    given = Webhook(client_id="", headers={**webhook.headers, "content-type": media_type}, body=webhook.body)

    problem = assert_problem(await post_webhook(service, PATH, given), 415, "wrong-media-type")

    assert "application/x-www-form-urlencoded or application/json" in problem["detail"]


@pytest.mark.parametrize("path", [f"{PATH}/nobody", f"{PATH}/order-form", f"{PATH}/", f"{PATH}s", f"{PATH}/store/x"])
async def test_an_unknown_project_is_404(path):
    assert_problem(await post_webhook(whatsapp_ingress(), path, message(BASE + path)), 404, "unknown-project")


async def test_where_no_project_is_on_whatsapp_its_path_is_404():
    assert_problem(await post_webhook(ingress(), PATH, message(BASE + PATH)), 404, "unknown-project")


async def test_other_paths_of_whatsapp_go_to_the_routers():
    service = whatsapp_ingress()

    @service.app.get("/whatsapp/orders")
    async def orders() -> list[str]:
        return ["one"]

    async with service.client() as client:
        assert (await client.get("/whatsapp/orders")).json() == ["one"]
        assert_problem(await client.get("/whatsapp/nothing"), 404, "not-found")


async def test_a_door_without_secrets_is_shut_and_says_which_variable_opens_it():
    store = replace(
        PROJECTS["order-form"], name="store", channels={"twilio": ChannelSettings(), "meta": ChannelSettings()}
    )
    service = ingress(more_projects={"store": store})

    form = await post_webhook(service, PATH, message(BASE + PATH))
    batch = await post_webhook(service, PATH, meta_webhook("Hi", CLIENT, 1, secret=APP_SECRET))

    assert "TWILIO_AUTH_TOKEN" in assert_problem(form, 401, "not-authentic")["detail"]
    assert "META_APP_SECRET" in assert_problem(batch, 401, "not-authentic")["detail"]
    assert service.publisher.published == []


async def test_each_channel_of_a_path_has_its_own_default_project():
    example = PROJECTS["order-form"]
    shops = {
        "one": replace(
            example, name="one", channels={"twilio": ChannelSettings(default=True), "meta": ChannelSettings()}
        ),
        "two": replace(
            example, name="two", channels={"twilio": ChannelSettings(), "meta": ChannelSettings(default=True)}
        ),
    }
    secrets = InboundSecrets(tokens=(AUTH_TOKEN,))
    doors = [Door(name, channel) for name in shops for channel in ("twilio", "meta")]
    service = ingress(more_projects=shops, more_secrets=dict.fromkeys(doors, secrets))

    await post_webhook(service, PATH, message(BASE + PATH))
    await post_webhook(service, PATH, meta_webhook("Hi", CLIENT, 1, secret=AUTH_TOKEN))

    assert [each.conversation.rpartition("/")[0] for each in service.publisher.envelopes] == ["one/twilio", "two/meta"]


async def test_one_clients_limit_holds_over_both_addresses_of_a_channel():
    store = replace(
        PROJECTS["order-form"],
        name="store",
        channels={"twilio": ChannelSettings()},
        limits=Limits(webhooks_per_minute_and_client=2),
    )
    secrets = {Door("store", "twilio"): InboundSecrets(tokens=(AUTH_TOKEN,))}
    service = ingress(more_projects={"store": store}, more_secrets=secrets)

    answers = [await post_webhook(service, path, message(BASE + path)) for path in PATHS[:3]]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_twilios_json_is_taken_at_its_own_address_by_the_hash_of_its_body():
    service = whatsapp_ingress()
    form = twilio_message("Hi", CLIENT, 5)
    answers = [
        await post_webhook(service, path, Webhook(client_id="", headers=headers, body=body))
        for path, headers, body in _json_of_twilio(orjson.dumps(form))
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert service.publisher.envelopes[0].conversation == f"store/twilio/{CLIENT}"


def _json_of_twilio(body: bytes) -> list[tuple[str, dict[str, str], bytes]]:
    """The right request; the same with another body; and one whose URL has no hash at all."""
    bare = "/webhook/twilio"
    path = f"{bare}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    return [(path, _of_url(path), body), (path, _of_url(path), body + b" "), (bare, _of_url(bare), body)]


def _of_url(path: str) -> dict[str, str]:
    """The headers of a request that is signed by its URL alone."""
    signature = url_and_fields_text(BASE + path, {}, AUTH_TOKEN, "sha1")
    return {"content-type": "application/json", twilio.SIGNATURE_HEADER: signature}


def _signed_by_meta(batch: object) -> Webhook:
    body = orjson.dumps(batch)
    headers = {"content-type": "application/json", "x-hub-signature-256": hmac_text(SIGNATURE, APP_SECRET, body)}
    return Webhook(client_id="", headers=headers, body=body)
