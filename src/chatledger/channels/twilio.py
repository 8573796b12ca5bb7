"""Twilio's WhatsApp: signed forms in, forms out.

In come clients' messages and reports of what became of ours, told apart by `MessageStatus`; Twilio adds fields without
notice, so all are kept. A client's id is what follows `whatsapp:`, a phone number with its plus. A report finds its
message by the `delivery` that we put into the callback's address. Sources: Twilio's pages on messaging webhooks, status
callbacks and webhook security, and the validator in its Python library.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, urlencode

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
from chatledger.channels.form_body import form_fields, storable
from chatledger.channels.hub_challenge import answer_challenge
from chatledger.channels.json_body import json_object
from chatledger.channels.outcomes import outcome_of_status
from chatledger.channels.signatures import token_matches, url_and_fields_text, with_and_without_port
from chatledger.errors import InvalidFields, MalformedBody, NotAuthentic
from chatledger.events.dialog import ReplyRequested
from chatledger.events.inbound import DeliveryReported, DeliveryStatus, MessageReceived, WebhookNoted
from chatledger.projects import ChannelSettings

NAME = "twilio"
FORM = "application/x-www-form-urlencoded"
PREFIX = "whatsapp:"
TEXT_LENGTH_MAX = 4096
"""What WhatsApp carries; the rest of a longer text stays in `raw`."""
BODY_UTF16_UNITS_MAX = 1600
"""Twilio refuses a longer Body (error 21617)."""
RETRYABLE_CODES = frozenset({20429, 21611, 63018})
"""Too many requests, a full queue, the sender's rate: refused for now, whatever the HTTP status."""
SIGNATURE_HEADER = "x-twilio-signature"
SETTINGS_HEADER = "x-twilio-webhooks-signature-settings"

_STATUSES: Mapping[str, DeliveryStatus] = {
    **dict.fromkeys(("queued", "accepted", "scheduled", "sending"), "queued"),
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    **dict.fromkeys(("failed", "undelivered", "canceled"), "failed"),
}
_OF_A_CLIENT = frozenset({"received", "receiving"})
_TEXT_FIELDS = ("Body", "ButtonText", "ListTitle", "Address", "Label")
_ID = re.compile(r"[\w.:+@=-]{1,128}", re.ASCII)
Fields = dict[str, list[str]]


def verify(request: WebhookRequest, settings: ChannelSettings, secrets: InboundSecrets) -> None:
    """Check the signature of the URL and the form. Raises NotAuthentic, whatever is wrong with the request.

    `hmac_secrets` are shared keys, which sign with SHA-256 alone; the account's token signs with either digest.
    A JSON body is not signed itself: its hash is in the URL, as `bodySHA256`.
    """
    if not secrets.any:
        raise NotAuthentic(f"set {CHANNEL.variables_for(settings).webhook_token}: without it no webhook is taken")
    algorithm, keys = _scheme(request.headers.get(SETTINGS_HEADER), secrets)
    fields = _signed_fields(request)
    right = [
        url_and_fields_text(url, fields, key, algorithm) for key in keys for url in with_and_without_port(request.url)
    ]
    if not token_matches(request.headers.get(SIGNATURE_HEADER, ""), right):
        raise NotAuthentic("the signature is not that of this URL and form; is PUBLIC_BASE_URL what Twilio posts to?")


def parse(request: WebhookRequest) -> tuple[Received, ...]:
    """Read one webhook. Raises MalformedBody, or InvalidFields that names each field and what it should be."""
    fields = _fields(request)
    status = _one(fields, "MessageStatus") or _one(fields, "SmsStatus")
    written = status in _OF_A_CLIENT or ("Body" in fields and not _one(fields, "MessageStatus"))
    wrong: dict[str, str] = {}
    message_id = _one(fields, "MessageSid") or _one(fields, "SmsSid")
    if _ID.fullmatch(message_id) is None:
        wrong["MessageSid"] = "must be 1 to 128 letters, digits or . : + @ = _ -"
    if not (written or status):
        wrong["Body"] = "is missing, and so are MessageStatus and SmsStatus: nothing says what this is"
    client_id = _client(fields, "From" if written else "To", wrong)
    if wrong:
        raise InvalidFields(wrong)
    if written:
        return (_message(fields, client_id, message_id),)
    return (_report(fields, client_id, message_id, status, request.query.get("delivery", "")),)


def render(
    idempotency_key: str, reply: ReplyRequested, secrets: OutboundSecrets, content_sid: str | None = None
) -> OutboundRequest:
    """Write a message to a client as POST Messages.json: its text, or the template `content_sid`.

    One request is one message, so a text of more than BODY_UTF16_UNITS_MAX is cut short and ends in an ellipsis. The
    sender is the project's, or else the number that the client wrote to.
    """
    sender = secrets.sender or str(reply.reply_to.get("sender", ""))
    form = {"From": PREFIX + sender.removeprefix(PREFIX), "To": PREFIX + reply.client_id}
    if content_sid is None:
        form["Body"] = _cut(reply.text)
    else:
        form["ContentSid"] = content_sid
        if reply.template is not None and reply.template.variables:
            # A variable with a line break or a run of blanks is refused by WhatsApp.
            variables = {name: " ".join(value.split()) for name, value in reply.template.variables.items()}
            form["ContentVariables"] = orjson.dumps(variables, option=orjson.OPT_SORT_KEYS).decode()
    if secrets.callback_url:
        joint = "&" if "?" in secrets.callback_url else "?"
        form["StatusCallback"] = f"{secrets.callback_url}{joint}delivery={quote(idempotency_key, safe='')}"
    credentials = base64.b64encode(f"{secrets.account}:{secrets.token}".encode()).decode()
    account = quote(secrets.account, safe="")
    return OutboundRequest(
        method="POST",
        url=f"{secrets.api_url.rstrip('/')}/2010-04-01/Accounts/{account}/Messages.json",
        headers={
            "authorization": f"Basic {credentials}",
            "content-type": FORM,
            "i-twilio-idempotency-token": idempotency_key,
        },
        body=urlencode(form).encode(),
    )


def outcome(answer: ProviderAnswer) -> Outcome:
    """Read the provider's answer. A refusal's reason is Twilio's code and sentence, such as `63016: ...`."""
    by_status = outcome_of_status(answer)
    try:
        body = json_object(answer.body)
    except MalformedBody:
        return by_status or Outcome(kind="sent", reason="accepted with an unreadable body")
    code, sentence = body.get("code"), str(body.get("message", ""))[:200]
    if by_status is not None:
        reason = f"{code}: {sentence}" if code else by_status.reason
        kind = "retry" if code in RETRYABLE_CODES else by_status.kind
        return Outcome(kind=kind, reason=reason, retry_after_s=by_status.retry_after_s)
    if _STATUSES.get(str(body.get("status"))) == "failed":
        return Outcome(kind="failed", reason=f"{body.get('error_code')}: {str(body.get('error_message', ''))[:200]}")
    return Outcome(kind="sent", provider_message_id=str(body.get("sid") or ""))


def _scheme(settings: str | None, secrets: InboundSecrets) -> tuple[str, tuple[str, ...]]:
    """The digest and the keys that may have signed. Raises NotAuthentic where the header says anything unknown."""
    if settings is None:
        return "sha1", secrets.tokens
    parts = [part.strip(" ").partition("=") for part in settings.split(",")]
    told = {name: value for name, _, value in parts}
    if len(parts) == 2 and told.keys() == {"key", "algorithm"} and told["key"] and told["algorithm"] == "HMAC_SHA256":
        return "sha256", secrets.hmac_secrets + secrets.tokens
    raise NotAuthentic(f"{SETTINGS_HEADER}: must be key=<id>,algorithm=HMAC_SHA256")


def _signed_fields(request: WebhookRequest) -> Fields:
    try:
        if _is_form(request):
            return form_fields(request.body)
    except MalformedBody as wrong:
        raise NotAuthentic(str(wrong)) from wrong
    if not token_matches(hashlib.sha256(request.body).hexdigest(), [request.query.get("bodySHA256", "").lower()]):
        raise NotAuthentic("bodySHA256: must be in the URL, and the hash of the body")
    return {}


def _is_form(request: WebhookRequest) -> bool:
    return request.headers.get("content-type", FORM).partition(";")[0].strip().lower() == FORM


def _fields(request: WebhookRequest) -> Fields:
    """The form's fields; of a JSON body those that a form could have."""
    if _is_form(request):
        return form_fields(request.body)
    return {name: [value] for name, value in json_object(request.body).items() if isinstance(value, str)}


def _one(fields: Fields, name: str) -> str:
    return fields[name][0] if name in fields else ""


def _client(fields: Fields, name: str, wrong: dict[str, str]) -> str:
    address = _one(fields, name)
    client_id = address.removeprefix(PREFIX)
    if client_id == address or _ID.fullmatch(client_id) is None:
        wrong[name] = "must be whatsapp: and a phone number such as +919900000001"
    return client_id


def _message(fields: Fields, client_id: str, message_id: str) -> Received:
    text = next((text for text in (_one(fields, name) for name in _TEXT_FIELDS) if text), "")
    sender = _one(fields, "To").removeprefix(PREFIX)
    name = _one(fields, "ProfileName")
    event = MessageReceived(
        channel=NAME,
        client_id=client_id,
        provider_message_id=message_id,
        text=_storable(text),
        reply_to={"sender": sender} if _ID.fullmatch(sender) else {},
        raw=storable(fields),
        client_name=_storable(name) if name else None,
    )
    return Received(client_id=client_id, dedupe_key=(message_id,), event=event)


def _report(fields: Fields, client_id: str, message_id: str, status: str, delivery: str) -> Received:
    event: DeliveryReported | WebhookNoted
    if status in _STATUSES:
        error = ": ".join(filter(None, (_one(fields, "ErrorCode"), _one(fields, "ErrorMessage"))))
        event = DeliveryReported(
            channel=NAME,
            client_id=client_id,
            provider_message_id=message_id,
            delivery_id=delivery if _ID.fullmatch(delivery) else None,
            status=_STATUSES[status],
            error=_storable(error) or None,
            raw=storable(fields),
        )
    else:
        event = WebhookNoted(
            channel=NAME,
            client_id=client_id,
            provider_message_id=message_id,
            kind=_storable(f"status.{status}"),
            raw=storable(fields),
        )
    return Received(client_id=client_id, dedupe_key=(message_id, status), event=event)


def _storable(text: str) -> str:
    """Postgres stores no NUL."""
    return text[:TEXT_LENGTH_MAX].replace("\x00", "\ufffd")


def _cut(text: str) -> str:
    units = text.encode("utf-16-le")
    if len(units) <= 2 * BODY_UTF16_UNITS_MAX:
        return text
    return units[: 2 * (BODY_UTF16_UNITS_MAX - 1)].decode("utf-16-le", errors="ignore") + "…"


CHANNEL = Channel(
    name=NAME,
    media_types=(FORM, "application/json"),
    acknowledgement=b'<?xml version="1.0" encoding="UTF-8"?><Response/>',
    acknowledgement_type="text/xml",
    api_url="https://api.twilio.com",
    api_url_env="TWILIO_API_URL",
    variables=Variables(
        webhook_token="TWILIO_AUTH_TOKEN",
        api_token="TWILIO_AUTH_TOKEN",
        hmac_secret="TWILIO_SHARED_KEYS",
        account="TWILIO_SID",
        sender="TWILIO_WHATSAPP_NUMBER",
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
