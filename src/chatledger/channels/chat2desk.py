"""Chat2Desk: JSON webhooks in, JSON messages out.

Two body forms come in: the reference form `{client_id, message_id, text}` and the provider's own with `hook_type`,
`type`, `dialog_id`, `channel_id`, `transport`, `client` and more; unknown fields are kept. Message ids are not unique
across directions, so the dedupe key is (hook_type, type, message_id). Only `inbox` from a client is client text:
echoes of our own messages and other hooks are noted, never answered. Source: the "Chat2Desk Public API" collection,
and payloads seen by receivers that people run.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from chatledger.channels.base import (
    Channel,
    InboundSecrets,
    OutboundRequest,
    OutboundSecrets,
    Outcome,
    ProviderAnswer,
    Received,
    Variables,
    WebhookRequest,
)
from chatledger.channels.json_body import json_object
from chatledger.channels.outcomes import outcome_of_status
from chatledger.channels.signatures import hmac_matches, token_matches
from chatledger.errors import InvalidFields, NotAuthentic
from chatledger.events.dialog import ReplyRequested
from chatledger.events.inbound import MessageReceived, WebhookNoted
from chatledger.projects import ChannelSettings

NAME = "chat2desk"
TEXT_LENGTH_MAX = 4096
"""What WhatsApp, the longest of its transports, carries; the rest of a longer text stays in `raw`."""
REPLY_FIELDS = ("transport", "channel_id", "dialog_id")
_ID = re.compile(r"[\w.:+@=-]{1,128}")


def verify(request: WebhookRequest, settings: ChannelSettings, secrets: InboundSecrets) -> None:
    """Check the token (`?token=` or X-Webhook-Token) or the signature; either is enough. Raises NotAuthentic.

    With no secrets at all everything passes: the service then listens on loopback only.
    """
    if not secrets.any:
        return
    token = request.query.get("token") or request.headers.get("x-webhook-token")
    if token is not None and token_matches(token, secrets.tokens):
        return
    if settings.hmac is not None and hmac_matches(request, settings.hmac, secrets.hmac_secrets):
        return
    raise NotAuthentic("send a valid token as ?token= or X-Webhook-Token, or sign the body")


def parse(request: WebhookRequest) -> tuple[Received, ...]:
    """Read one webhook. Raises MalformedBody, or InvalidFields that names each field and what it should be."""
    body = json_object(request.body)
    hook_type = str(body.get("hook_type", "inbox"))
    message_type = str(body.get("type", "from_client"))
    from_client = hook_type == "inbox" and message_type == "from_client"
    wrong: dict[str, str] = {}
    client_id = _identifier(body, "client_id", wrong)
    message_id = _identifier(body, "message_id", wrong, required=from_client)
    text = _text(body, wrong) if from_client else ""
    if wrong:
        raise InvalidFields(wrong)
    event: MessageReceived | WebhookNoted
    if from_client:
        event = MessageReceived(
            channel=NAME,
            client_id=client_id,
            provider_message_id=message_id,
            text=text,
            reply_to={name: body[name] for name in REPLY_FIELDS if _is_identifier(body.get(name))},
            raw=body,
        )
        unique = message_id
    else:
        event = WebhookNoted(
            channel=NAME,
            client_id=client_id,
            provider_message_id=message_id,
            kind=hook_type,
            raw=body,
        )
        unique = message_id or orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
    return (Received(client_id=client_id, dedupe_key=(hook_type, message_type, unique), event=event),)


def render(
    idempotency_key: str, reply: ReplyRequested, secrets: OutboundSecrets, content_sid: str | None = None
) -> OutboundRequest:
    """Write a message to a client as POST /v1/messages. The provider documents no idempotency; the key goes along."""
    body = {"client_id": _number(reply.client_id), "text": reply.text, "type": "to_client"}
    body |= {name: reply.reply_to[name] for name in ("transport", "channel_id") if name in reply.reply_to}
    return OutboundRequest(
        method="POST",
        url=f"{secrets.api_url.rstrip('/')}/v1/messages",
        headers={
            "authorization": secrets.token,
            "content-type": "application/json",
            "idempotency-key": idempotency_key,
        },
        body=orjson.dumps(body),
    )


def outcome(answer: ProviderAnswer) -> Outcome:
    """Read the provider's answer; a 2xx whose body says anything but success is a refusal."""
    by_status = outcome_of_status(answer)
    if by_status is not None:
        return by_status
    try:
        body = orjson.loads(answer.body)
        if body["status"] == "success":
            return Outcome(kind="sent", provider_message_id=str(body.get("data", {}).get("message_id", "")))
        return Outcome(kind="failed", reason=f"refused: {str(body)[:200]}")
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        return Outcome(kind="sent", reason="accepted with an unreadable body")


def _identifier(body: dict[str, Any], name: str, wrong: dict[str, str], *, required: bool = True) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if value is None:
        wrong[name] = "is missing; send it as a string or an integer"
    elif not _is_identifier(value):
        wrong[name] = "must be an integer, or a string of 1 to 128 letters, digits or . : + @ = _ -"
    return str(value)


def _is_identifier(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _text(body: dict[str, Any], wrong: dict[str, str]) -> str:
    """The client's text; the provider's own form may leave it out, where a message is only a picture."""
    value = body.get("text")
    if value is None and "hook_type" not in body:
        wrong["text"] = "is missing; send it as a string"
    elif isinstance(value, int | str) and not isinstance(value, bool):
        return str(value)[:TEXT_LENGTH_MAX]
    elif value is not None:
        wrong["text"] = "must be a string"
    return ""


def _number(client_id: str) -> int | str:
    return int(client_id) if client_id.isascii() and client_id.isdigit() and len(client_id) < 19 else client_id


CHANNEL = Channel(
    name=NAME,
    media_types=("application/json",),
    acknowledgement=b'{"success": true}',
    api_url="https://api.chat2desk.com",
    api_url_env="CHAT2DESK_API_URL",
    variables=Variables(webhook_token="CHAT2DESK_WEBHOOK_TOKEN", api_token="CHAT2DESK_API_TOKEN"),
    verify=verify,
    parse=parse,
    render=render,
    outcome=outcome,
)
