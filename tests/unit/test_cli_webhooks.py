"""The webhooks that `chatledger send` and the demo post are those that the channels take."""

from __future__ import annotations

import pytest

from chatledger.channels import CHANNELS
from chatledger.channels.base import InboundSecrets, WebhookRequest
from chatledger.errors import NotAuthentic
from chatledger.events.inbound import DeliveryReported, MessageReceived
from chatledger.projects import ChannelSettings, HmacScheme
from chatledger_cli.webhooks import DEFAULT_CLIENTS, Webhook, twilio_webhook, webhook_of

URL = "https://shop.example/webhook/x"
ENVIRONMENT = dict.fromkeys(("CHAT2DESK_WEBHOOK_TOKEN", "TWILIO_AUTH_TOKEN", "META_APP_SECRET"), "secret, retired")
SECRETS = InboundSecrets(tokens=("secret",), hmac_secrets=("secret",))


def request_of(webhook: Webhook) -> WebhookRequest:
    return WebhookRequest(headers=webhook.headers, query={}, body=webhook.body, url=URL)


def made(channel: str, message_id: int = 7, settings: ChannelSettings | None = None, **environment: str) -> Webhook:
    return webhook_of(
        channel,
        "100 cement",
        client=DEFAULT_CLIENTS[channel],
        message_id=message_id,
        url=URL,
        settings=settings or ChannelSettings(),
        environment=environment or ENVIRONMENT,
    )


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_webhook_is_let_in_and_is_the_clients_message(channel):
    webhook = made(channel)

    CHANNELS[channel].verify(request_of(webhook), ChannelSettings(), SECRETS)
    [received] = CHANNELS[channel].parse(request_of(webhook))

    assert isinstance(received.event, MessageReceived)
    assert (received.event.text, received.client_id) == ("100 cement", webhook.client_id)
    assert webhook.client_id == DEFAULT_CLIENTS[channel]


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_message_id_makes_a_duplicate_of_it(channel):
    keys = [CHANNELS[channel].parse(request_of(made(channel, number)))[0].dedupe_key for number in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("channel", CHANNELS)
def test_without_a_secret_in_the_environment_it_is_not_signed(channel):
    with pytest.raises(NotAuthentic):
        CHANNELS[channel].verify(request_of(made(channel, OTHER="x")), ChannelSettings(), SECRETS)


def test_a_scheme_of_the_project_signs_too():
    settings = ChannelSettings(hmac=HmacScheme(header="X-Signature", secret_env="SIGNING"))
    webhook = made("chat2desk", settings=settings, SIGNING="secret")
    CHANNELS["chat2desk"].verify(request_of(webhook), settings, SECRETS)


def test_a_report_is_signed_as_a_message_is():
    form = {"MessageSid": "SM1", "MessageStatus": "read", "From": "whatsapp:+1", "To": "whatsapp:+919900000001"}
    webhook = twilio_webhook(form, url=URL, token="secret")

    CHANNELS["twilio"].verify(request_of(webhook), ChannelSettings(), SECRETS)
    [received] = CHANNELS["twilio"].parse(request_of(webhook))

    assert isinstance(received.event, DeliveryReported)
    assert received.client_id == webhook.client_id == "+919900000001"
