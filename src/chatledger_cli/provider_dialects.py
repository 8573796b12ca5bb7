"""What the stand-in understands and answers: the send requests of each provider, and Twilio's status callbacks."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import orjson

from chatledger.channels.signatures import url_and_fields_text

Dialect = Literal["chat2desk", "twilio", "meta"]

_TWILIO = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]*)/Messages\.json")
_META = re.compile(r"/v[0-9.]+/(?P<sender>[^/]+)/messages")
_WHATSAPP = "whatsapp:"
_SENTENCES = {63016: "Failed to send freeform message because you are outside the allowed window."}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """One request to send a message, as it came. `arrived_at` is Unix time in seconds.

    A template has a `content_sid` and `variables`, and no text. `account` and `sender` are ours at the provider, and
    `callback_url` is where to report.
    """

    client_id: str
    text: str
    idempotency_key: str
    authorization: str
    arrived_at: float
    channel: Dialect = "chat2desk"
    content_sid: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    account: str = ""
    sender: str = ""
    callback_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How to answer a message. `body` unset means what its provider says.

    "reset" and "hang" give no answer at all; "accept" takes the message and gives none either. `callbacks` are the
    statuses that are then reported to the message's callback URL, in this order, where the message is taken.
    """

    status: int = 200
    delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    instead: Literal["reset", "hang", "accept"] | None = None
    callbacks: Sequence[str] = ()

    @property
    def accepted(self) -> bool:
        """Whether the provider takes the message."""
        return self.instead == "accept" or (self.instead is None and 200 <= self.status < 300)


def twilio_error(code: int, *, status: int = 400) -> Answer:
    """Twilio's answer to a message that it refuses, such as 63016."""
    error = {
        "code": code,
        "message": _SENTENCES.get(code, "scripted"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Answer(status=status, body=orjson.dumps(error))


def read_message(path: str, headers: Mapping[bytes, bytes], body: bytes) -> ReceivedMessage:
    """Read a request to send. Raises ValueError or AttributeError where it is none in its provider's language."""
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    twilio, meta = _TWILIO.fullmatch(path), _META.fullmatch(path)
    if twilio is not None:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return ReceivedMessage(
            channel="twilio",
            client_id=form.get("To", "").removeprefix(_WHATSAPP),
            text=form.get("Body", ""),
            idempotency_key=headers.get(b"i-twilio-idempotency-token", b"").decode("latin-1"),
            authorization=authorization,
            arrived_at=time.time(),
            content_sid=form.get("ContentSid", ""),
            variables=orjson.loads(form.get("ContentVariables", "{}")),
            account=twilio["account"],
            sender=form.get("From", "").removeprefix(_WHATSAPP),
            callback_url=form.get("StatusCallback", ""),
        )
    content = orjson.loads(body)
    if meta is not None:
        return _of_meta(content, meta["sender"], authorization)
    return ReceivedMessage(
        client_id=str(content.get("client_id", "")),
        text=str(content.get("text", "")),
        idempotency_key=headers.get(b"idempotency-key", b"").decode("latin-1"),
        authorization=authorization,
        arrived_at=time.time(),
    )


def acceptance(message: ReceivedMessage, number: int) -> tuple[int, bytes]:
    """Return the status and body by which a provider says that it took a message, its `number`th."""
    message_id = provider_message_id(message, number)
    if message.channel == "twilio":
        sent = {"sid": message_id, "status": "queued", "to": _WHATSAPP + message.client_id, "error_code": None}
        return 201, orjson.dumps(sent)
    if message.channel == "meta":
        return 200, orjson.dumps({"messaging_product": "whatsapp", "messages": [{"id": message_id}]})
    return 200, b'{"status":"success","data":{"message_id":%s,"type":"to_client"}}' % message_id.encode()


def provider_message_id(message: ReceivedMessage, number: int) -> str:
    """Return the id that a provider gives to the `number`th message that it took."""
    return {"twilio": f"SM{number:032x}", "meta": f"wamid.{number}", "chat2desk": str(number)}[message.channel]


def refusal(message: ReceivedMessage, status: int) -> bytes:
    """Return the body of an answer that says no, where the script has none."""
    if message.channel == "twilio":
        return twilio_error(20000 + status, status=status).body or b""
    if message.channel == "meta":
        return orjson.dumps({"error": {"message": "scripted", "type": "OAuthException"}})
    return b'{"status":"error","message":"scripted"}'


def status_callback(message: ReceivedMessage, message_id: str, status: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the form by which Twilio reports a status, signed with the account's token."""
    form = {
        "MessageSid": message_id,
        "SmsSid": message_id,
        "MessageStatus": status,
        "SmsStatus": status,
        "AccountSid": message.account,
        "From": _WHATSAPP + message.sender,
        "To": _WHATSAPP + message.client_id,
    }
    if status in ("failed", "undelivered"):
        form["ErrorCode"] = "63024"
    signature = url_and_fields_text(
        message.callback_url, {name: [value] for name, value in form.items()}, _password(message), "sha1"
    )
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
    return headers, urlencode(form).encode()


def _of_meta(content: dict[str, object], sender: str, authorization: str) -> ReceivedMessage:
    text, template = content.get("text"), content.get("template")
    return ReceivedMessage(
        channel="meta",
        client_id="+" + str(content.get("to", "")),
        text=str(text.get("body", "")) if isinstance(text, dict) else "",
        idempotency_key=str(content.get("biz_opaque_callback_data", "")),
        authorization=authorization,
        arrived_at=time.time(),
        content_sid=str(template.get("name", "")) if isinstance(template, dict) else "",
        sender=sender,
    )


def _password(message: ReceivedMessage) -> str:
    try:
        return base64.b64decode(message.authorization.removeprefix("Basic ")).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
