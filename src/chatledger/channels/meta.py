"""Meta's WhatsApp Cloud API: signed JSON in, JSON out.

One webhook is a batch: each message and each report of what became of ours is an event of its own, under its own id,
and one that cannot be read is noted and does not hold up the rest. A client's id is the phone number with a plus, as
in the other channel of WhatsApp. A report finds its message by `biz_opaque_callback_data`, which Meta hands back.
Source: Meta's pages on the Cloud API's messages and webhooks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeGuard
from urllib.parse import quote

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
from chatledger.channels.hub_challenge import answer_challenge
from chatledger.channels.json_body import json_object
from chatledger.channels.outcomes import outcome_of_status
from chatledger.channels.signatures import hmac_matches
from chatledger.errors import InvalidFields, MalformedBody, NotAuthentic
from chatledger.events.dialog import MessageTemplate, ReplyRequested
from chatledger.events.inbound import DeliveryReported, DeliveryStatus, MessageReceived, WebhookNoted
from chatledger.projects import ChannelSettings, HmacScheme

NAME = "meta"
API_VERSION = "v23.0"
TEXT_LENGTH_MAX = 4096
"""What a text message carries, both ways; the rest of a longer one that comes in stays in `raw`."""
SIGNATURE = HmacScheme(header="X-Hub-Signature-256", prefix="sha256=", secret_env="META_APP_SECRET")
RETRYABLE_CODES = frozenset({1, 2, 4, 80007, 130429, 131000, 131016, 131056, 133004})
"""Trouble of Meta's own, and limits of rate: refused for now, whatever the HTTP status."""

UNANSWERED_TYPES = ("reaction", "system")
"""A thumb under one of our messages, and news such as a changed number."""

_STATUSES: Mapping[str, DeliveryStatus] = {
    "accepted": "queued",
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
}
_ID = re.compile(r"[\w.:+@=-]{1,128}", re.ASCII)
_MESSAGE_ID = re.compile(r"[\w.:+/@=-]{1,256}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{5,20}", re.ASCII)


def verify(request: WebhookRequest, settings: ChannelSettings, secrets: InboundSecrets) -> None:
    """Check the signature of the body as it came. Raises NotAuthentic."""
    if not secrets.any:
        raise NotAuthentic(f"set {CHANNEL.variables_for(settings).webhook_token}: without it no webhook is taken")
    if not hmac_matches(request, SIGNATURE, secrets.tokens + secrets.hmac_secrets):
        raise NotAuthentic(f"{SIGNATURE.header}: is not the signature of this body")


def parse(request: WebhookRequest) -> tuple[Received, ...]:
    """Read one batch. Raises MalformedBody, or InvalidFields where it is no batch at all."""
    body = json_object(request.body)
    entries = body.get("entry")
    wrong: dict[str, str] = {}
    if body.get("object") != "whatsapp_business_account":
        wrong["object"] = "must be whatsapp_business_account"
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        wrong["entry"] = "must be a list of at least one object"
    if wrong or not isinstance(entries, list):
        raise InvalidFields(wrong)
    return tuple(received for entry in entries for received in _of_entry(entry))


def render(
    idempotency_key: str, reply: ReplyRequested, secrets: OutboundSecrets, content_sid: str | None = None
) -> OutboundRequest:
    """Write a message to a client: its text, or a template. A template's id is its name, or `name:language`.

    Meta knows no idempotency; the key comes back with each report. A longer text than Meta takes is cut short.
    """
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": reply.client_id.removeprefix("+"),
        "biz_opaque_callback_data": idempotency_key,
    }
    if content_sid is None:
        text = reply.text if len(reply.text) <= TEXT_LENGTH_MAX else reply.text[: TEXT_LENGTH_MAX - 1] + "…"
        body |= {"type": "text", "text": {"preview_url": False, "body": text}}
    else:
        body |= {"type": "template", "template": _template(content_sid, reply.template)}
    sender = secrets.sender or str(reply.reply_to.get("phone_number_id", ""))
    return OutboundRequest(
        method="POST",
        url=f"{secrets.api_url.rstrip('/')}/{API_VERSION}/{quote(sender, safe='')}/messages",
        headers={"authorization": f"Bearer {secrets.token}", "content-type": "application/json"},
        body=orjson.dumps(body),
    )


def outcome(answer: ProviderAnswer) -> Outcome:
    """Read the provider's answer. A refusal's reason is Meta's code and sentence, such as `131047: ...`."""
    by_status = outcome_of_status(answer)
    try:
        body = json_object(answer.body)
    except MalformedBody:
        return by_status or Outcome(kind="sent", reason="accepted with an unreadable body")
    if by_status is not None:
        error = _object(body.get("error"))
        code = error.get("code")
        if not isinstance(code, int):
            return by_status
        kind = "retry" if code in RETRYABLE_CODES else by_status.kind
        return Outcome(kind=kind, reason=_sentence(error), retry_after_s=by_status.retry_after_s)
    messages = _objects(body.get("messages"))
    return Outcome(kind="sent", provider_message_id=str(messages[0].get("id", "")) if messages else "")


def _of_entry(entry: dict[str, Any]) -> Iterator[Received]:
    account = str(entry.get("id", ""))
    changes = _objects(entry.get("changes"))
    if not changes:
        yield _noted(account, "entry", entry)
    for change in changes:
        value = _object(change.get("value"))
        messages, statuses = _objects(value.get("messages")), _objects(value.get("statuses"))
        if change.get("field") != "messages" or not (messages or statuses):
            yield _noted(account, str(change.get("field", "change")), {**change, "time": entry.get("time")})
            continue
        contacts = {str(each.get("wa_id")): each for each in _objects(value.get("contacts"))}
        for message in messages:
            contact = contacts.get(str(message.get("from")), {})
            yield _message(message, contact, _object(value.get("metadata"))) or _noted(
                _client(message.get("from")) or account, "message", message
            )
        for status in statuses:
            yield _report(status) or _noted(_client(status.get("recipient_id")) or account, "status", status)


def _message(message: dict[str, Any], contact: dict[str, Any], metadata: dict[str, Any]) -> Received | None:
    """One message of a client; None where it has no id, nobody to answer, or where it says nothing to us."""
    client_id, message_id = _client(message.get("from")), message.get("id")
    if client_id is None or not _is_id(message_id) or message.get("type") in UNANSWERED_TYPES:
        return None
    name, phone = _object(contact.get("profile")).get("name"), str(metadata.get("phone_number_id", ""))
    event = MessageReceived(
        channel=NAME,
        client_id=client_id,
        provider_message_id=message_id,
        text=_text(message)[:TEXT_LENGTH_MAX],
        reply_to={"phone_number_id": phone} if _ID.fullmatch(phone) else {},
        raw={"metadata": metadata, "contact": contact, "message": message},
        client_name=name[:TEXT_LENGTH_MAX] if isinstance(name, str) else None,
    )
    return Received(client_id=client_id, dedupe_key=(message_id,), event=event)


def _text(message: dict[str, Any]) -> str:
    """What the client wrote or chose; a picture's caption; of a place its name. Else nothing."""
    kind = str(message.get("type", ""))
    content = _object(message.get(kind))
    if kind == "interactive":
        content = _object(content.get(str(content.get("type", ""))))
    for name in ("body", "text", "title", "caption", "address", "name"):
        if isinstance(content.get(name), str) and content[name]:
            return str(content[name])
    return ""


def _report(status: dict[str, Any]) -> Received | None:
    """What became of one of our messages; None where it is not said of which, or what."""
    client_id, message_id, told = _client(status.get("recipient_id")), status.get("id"), status.get("status")
    if client_id is None or not _is_id(message_id) or not isinstance(told, str) or told not in _STATUSES:
        return None
    delivery = status.get("biz_opaque_callback_data")
    event = DeliveryReported(
        channel=NAME,
        client_id=client_id,
        provider_message_id=message_id,
        delivery_id=delivery if isinstance(delivery, str) and _ID.fullmatch(delivery) else None,
        status=_STATUSES[told],
        error="; ".join(map(_sentence, _objects(status.get("errors")))) or None,
        raw=status,
    )
    return Received(client_id=client_id, dedupe_key=(message_id, told), event=event)


def _noted(whose: str, kind: str, raw: dict[str, Any]) -> Received:
    """What is neither a message nor a report, such as a template that was approved: kept under the account's id."""
    client_id = whose if _ID.fullmatch(whose) else "account"
    event = WebhookNoted(channel=NAME, client_id=client_id, provider_message_id="", kind=kind[:128], raw=raw)
    digest = hashlib.sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Received(client_id=client_id, dedupe_key=("noted", kind, digest), event=event)


def _template(content_sid: str, template: MessageTemplate | None) -> dict[str, Any]:
    name, _, language = content_sid.partition(":")
    written: dict[str, Any] = {"name": name, "language": {"code": language or "en"}}
    variables = template.variables if template else {}
    if variables:
        # Numbered variables go by their order, others by name; a line break or a run of blanks would be refused.
        numbered = all(name.isascii() and name.isdigit() for name in variables)
        order = sorted(variables, key=int) if numbered else sorted(variables)
        texts = [(each, {"type": "text", "text": " ".join(variables[each].split())}) for each in order]
        parameters = [text if numbered else {**text, "parameter_name": each} for each, text in texts]
        written["components"] = [{"type": "body", "parameters": parameters}]
    return written


def _sentence(error: dict[str, Any]) -> str:
    details = _object(error.get("error_data")).get("details") or error.get("message") or error.get("title") or ""
    return f"{error.get('code')}: {str(details)[:200]}"


def _client(value: object) -> str | None:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        return None
    return f"+{value}" if _DIGITS.fullmatch(value) else value


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _MESSAGE_ID.fullmatch(value) is not None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; anything else in it as one that nobody can read, so that it is noted."""
    if not isinstance(value, list):
        return []
    return [each if isinstance(each, dict) else {"value": each} for each in value]


CHANNEL = Channel(
    name=NAME,
    media_types=("application/json",),
    acknowledgement=b'{"success": true}',
    api_url="https://graph.facebook.com",
    api_url_env="META_API_URL",
    variables=Variables(
        webhook_token="META_APP_SECRET",
        api_token="META_ACCESS_TOKEN",
        sender="META_PHONE_NUMBER_ID",
        verify_token="WHATSAPP_VERIFY_TOKEN",
    ),
    paths=("/whatsapp/webhook",),
    always_signed=True,
    free_text_window=timedelta(hours=24),
    reports=True,
    challenge=answer_challenge,
    verify=verify,
    parse=parse,
    render=render,
    outcome=outcome,
)
