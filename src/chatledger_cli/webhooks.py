"""Webhooks as the providers send them, signed: for `chatledger send`, the demo, and stand-ins of providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from chatledger.channels import CHANNELS, meta, twilio
from chatledger.channels.signatures import hmac_text, url_and_fields_text
from chatledger.projects import ChannelSettings

TWILIO_ACCOUNT = "AC00000000000000000000000000000000"
WHATSAPP_NUMBER = "+14155238886"
"""The number that is written to, where the environment names none: Twilio's sandbox."""
META_PHONE_NUMBER_ID = "106540352242922"
DEFAULT_CLIENTS = {"chat2desk": "1001", "twilio": "+919900000001", "meta": "+919900000001"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """What is posted, and the id under which the client's messages are kept."""

    client_id: str
    headers: Mapping[str, str]
    body: bytes


def webhook_of(
    channel: str,
    text: str,
    *,
    client: str,
    message_id: int,
    url: str,
    settings: ChannelSettings,
    environment: Mapping[str, str],
) -> Webhook:
    """Return a client's message on a channel, signed with the secrets that the project names.

    `url` is the one by which the ingress is known: Twilio signs it. Without a secret it is not signed.
    """
    names = CHANNELS[channel].variables_for(settings)
    secret = first_secret(environment, names.webhook_token)
    number = environment.get(names.sender or "", "")
    if channel == twilio.NAME:
        account = environment.get(names.account or "") or TWILIO_ACCOUNT
        form = twilio_message(text, client, message_id, to=number or WHATSAPP_NUMBER, account=account)
        return twilio_webhook(form, url=url, token=secret)
    if channel == meta.NAME:
        return meta_webhook(text, client, message_id, secret=secret, phone_number_id=number or META_PHONE_NUMBER_ID)
    return chat2desk_webhook(text, client, message_id, settings=settings, token=secret, environment=environment)


def chat2desk_webhook(
    text: str,
    client: str,
    message_id: int,
    *,
    settings: ChannelSettings,
    token: str,
    environment: Mapping[str, str],
) -> Webhook:
    """Return a message in the provider's own form."""
    body = orjson.dumps(
        {
            "hook_type": "inbox",
            "type": "from_client",
            "message_id": message_id,
            "client_id": int(client) if client.isascii() and client.isdigit() else client,
            "dialog_id": 1,
            "channel_id": 1,
            "transport": "whatsapp",
            "text": text,
        }
    )
    headers = {"content-type": "application/json"}
    if token:
        headers["x-webhook-token"] = token
    signing_secret = first_secret(environment, settings.hmac.secret_env) if settings.hmac else ""
    if settings.hmac and signing_secret:
        headers[settings.hmac.header.lower()] = hmac_text(settings.hmac, signing_secret, body)
    return Webhook(client_id=client, headers=headers, body=body)


def twilio_message(
    text: str, client: str, message_id: int, *, to: str = WHATSAPP_NUMBER, account: str = TWILIO_ACCOUNT, name: str = ""
) -> dict[str, str]:
    """Return the fields of a client's message as Twilio posts them. `message_id` becomes the MessageSid."""
    number = f"+{client.removeprefix('+')}"
    sid = f"SM{message_id % 16**32:032x}"
    return {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": name or number,
        "MessageType": "text",
        "SmsSid": sid,
        "WaId": number.removeprefix("+"),
        "SmsStatus": "received",
        "Body": text,
        "To": f"{twilio.PREFIX}{to.removeprefix(twilio.PREFIX)}",
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": account,
        "From": f"{twilio.PREFIX}{number}",
        "ApiVersion": "2010-04-01",
    }


def twilio_webhook(form: Mapping[str, str], *, url: str, token: str) -> Webhook:
    """Return a form, a message or a report, signed with the account's token; without one it is not signed."""
    headers = {"content-type": twilio.FORM}
    if token:
        fields = {name: [value] for name, value in form.items()}
        headers[twilio.SIGNATURE_HEADER] = url_and_fields_text(url, fields, token, "sha1")
    client = form["From"] if form.get("SmsStatus") == "received" else form["To"]
    return Webhook(client_id=client.removeprefix(twilio.PREFIX), headers=headers, body=urlencode(form).encode())


def meta_webhook(
    text: str, client: str, message_id: int, *, secret: str, phone_number_id: str = META_PHONE_NUMBER_ID
) -> Webhook:
    """Return a client's message in a batch of one, signed with the app's secret; without one it is not signed."""
    digits = client.removeprefix("+")
    message = {
        "from": digits,
        "id": f"wamid.{message_id:X}",
        "timestamp": "1767607200",
        "type": "text",
        "text": {"body": text},
    }
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": WHATSAPP_NUMBER.removeprefix("+"), "phone_number_id": phone_number_id},
        "contacts": [{"profile": {"name": f"+{digits}"}, "wa_id": digits}],
        "messages": [message],
    }
    change = {"field": "messages", "value": value}
    body = orjson.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]})
    headers = {"content-type": "application/json"}
    if secret:
        headers[meta.SIGNATURE.header.lower()] = hmac_text(meta.SIGNATURE, secret, body)
    return Webhook(client_id=f"+{digits}", headers=headers, body=body)


def first_secret(environment: Mapping[str, str], name: str) -> str:
    """Return the first of the secrets that a variable lists, empty where it has none."""
    return next(iter(environment.get(name, "").replace(",", " ").split()), "")
