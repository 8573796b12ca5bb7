"""Messages to clients over WhatsApp: the requests that they become, and what the providers' answers mean."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from chatledger.channels import CHANNELS
from chatledger.channels.base import OutboundSecrets, ProviderAnswer
from chatledger.channels.twilio import BODY_UTF16_UNITS_MAX
from chatledger.events.dialog import MessageTemplate, ReplyRequested

TWILIO, META = CHANNELS["twilio"], CHANNELS["meta"]
KEY = "5d6e0c1e-0f5c-5c0e-9a57-000000000001"
ACCOUNT = OutboundSecrets(
    api_url="https://api.test/",
    token="secret",
    account="AC1",
    sender="+14155238886",
    callback_url="https://shop.example/webhook/twilio/store",
)
REPLY = ReplyRequested(
    channel="twilio", client_id="+919900000001", text="Total: ₹5,000\nConfirm? 1=Yes, 2=No", reply_to={}
)
TEMPLATE = MessageTemplate(content_sid="HX1", variables={"2": "line\nbreak  and\tblanks", "1": "Asha", "10": "x"})


def twilio_form(
    reply: ReplyRequested = REPLY, secrets: OutboundSecrets = ACCOUNT, content_sid: str | None = None
) -> Any:
    body = TWILIO.render(KEY, reply, secrets, content_sid).body.decode()
    return {name: value for name, [value] in parse_qs(body, strict_parsing=True).items()}


def meta_body(reply: ReplyRequested = REPLY, content_sid: str | None = None) -> Any:
    return orjson.loads(META.render(KEY, reply, ACCOUNT, content_sid).body)


def test_twilio_is_sent_a_form_with_the_accounts_credentials():
    request = TWILIO.render(KEY, REPLY, ACCOUNT, None)

    assert (request.method, request.url) == ("POST", "https://api.test/2010-04-01/Accounts/AC1/Messages.json")
    assert request.headers == {
        "authorization": f"Basic {base64.b64encode(b'AC1:secret').decode()}",
        "content-type": "application/x-www-form-urlencoded",
        "i-twilio-idempotency-token": KEY,
    }
    assert twilio_form() == {
        "From": "whatsapp:+14155238886",
        "To": "whatsapp:+919900000001",
        "Body": REPLY.text,
        "StatusCallback": f"https://shop.example/webhook/twilio/store?delivery={KEY}",
    }


def test_twilio_is_sent_a_template_instead_of_free_text():
    form = twilio_form(replace(REPLY, template=TEMPLATE), content_sid="HX2")

    assert form["ContentSid"] == "HX2"
    assert orjson.loads(form["ContentVariables"]) == {"1": "Asha", "10": "x", "2": "line break and blanks"}
    assert "Body" not in form
    assert "ContentVariables" not in twilio_form(content_sid="HX2")


def test_the_sender_is_the_projects_or_the_number_that_the_client_wrote_to():
    wrote_to = replace(REPLY, reply_to={"sender": "+15550001"})

    assert twilio_form(wrote_to)["From"] == "whatsapp:+14155238886"
    assert twilio_form(wrote_to, replace(ACCOUNT, sender=""))["From"] == "whatsapp:+15550001"
    assert twilio_form(wrote_to, replace(ACCOUNT, sender="whatsapp:+1999"))["From"] == "whatsapp:+1999"


def test_a_provider_that_cannot_reach_us_is_not_asked_to_report():
    assert "StatusCallback" not in twilio_form(secrets=replace(ACCOUNT, callback_url=""))
    callback = twilio_form(secrets=replace(ACCOUNT, callback_url="https://a.test/?x=1"))["StatusCallback"]
    assert callback == f"https://a.test/?x=1&delivery={KEY}"


@pytest.mark.parametrize("letter", ["a", "₹", "😀"])
def test_a_text_that_twilio_would_refuse_is_cut_short(letter):
    units = len(letter.encode("utf-16-le")) // 2
    fits = letter * (BODY_UTF16_UNITS_MAX // units)

    cut = twilio_form(replace(REPLY, text=fits + letter))["Body"]

    assert twilio_form(replace(REPLY, text=fits))["Body"] == fits
    assert cut.rstrip("…") == cut[:-1] == letter * len(cut[:-1])
    assert BODY_UTF16_UNITS_MAX - 1 <= len(cut.encode("utf-16-le")) // 2 <= BODY_UTF16_UNITS_MAX


def test_meta_is_sent_text_and_hands_our_key_back():
    request = META.render(KEY, replace(REPLY, channel="meta"), ACCOUNT, None)

    assert request.url == "https://api.test/v23.0/%2B14155238886/messages"
    assert request.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert orjson.loads(request.body) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "919900000001",
        "biz_opaque_callback_data": KEY,
        "type": "text",
        "text": {"preview_url": False, "body": REPLY.text},
    }
    assert len(meta_body(replace(REPLY, text="a" * 5_000))["text"]["body"]) == 4096


def test_meta_answers_from_the_number_that_was_written_to_where_the_project_has_none():
    reply = replace(REPLY, reply_to={"phone_number_id": "106540352242922"})
    request = META.render(KEY, reply, replace(ACCOUNT, sender=""), None)
    assert request.url == "https://api.test/v23.0/106540352242922/messages"


def test_meta_is_sent_a_template_with_its_variables_in_order():
    numbered = meta_body(replace(REPLY, template=TEMPLATE), "payment_due:en_GB")["template"]
    named = meta_body(
        replace(REPLY, template=MessageTemplate(content_sid=None, variables={"name": "Asha"})), "welcome"
    )["template"]

    assert (numbered["name"], numbered["language"]) == ("payment_due", {"code": "en_GB"})
    texts = [parameter["text"] for parameter in numbered["components"][0]["parameters"]]
    assert texts == ["Asha", "line break and blanks", "x"]
    assert (named["name"], named["language"]) == ("welcome", {"code": "en"})
    assert named["components"][0]["parameters"] == [{"type": "text", "text": "Asha", "parameter_name": "name"}]
    assert meta_body(content_sid="welcome")["template"] == {"name": "welcome", "language": {"code": "en"}}


@pytest.mark.parametrize(
    ("channel", "status", "body", "kind", "said"),
    [
        ("twilio", 201, {"sid": "SM1", "status": "queued"}, "sent", "SM1"),
        (
            "twilio",
            201,
            {"sid": "SM1", "status": "failed", "error_code": 63024, "error_message": "no"},
            "failed",
            "63024: no",
        ),
        ("twilio", 200, "not JSON", "sent", "accepted with an unreadable body"),
        (
            "twilio",
            400,
            {"code": 63016, "message": "outside the window", "status": 400},
            "failed",
            "63016: outside the window",
        ),
        ("twilio", 400, {"code": 21211, "message": "no such number"}, "failed", "21211: no such number"),
        ("twilio", 400, {"code": 63018, "message": "too fast"}, "retry", "63018: too fast"),
        ("twilio", 429, {"code": 20429, "message": "too many"}, "retry", "20429: too many"),
        ("twilio", 404, "<html>", "failed", 'HTTP 404: "<html>"'),
        ("twilio", 401, {}, "failed", "HTTP 401: {}"),
        ("twilio", 503, "away", "retry", "HTTP 503"),
        ("meta", 200, {"messages": [{"id": "wamid.1", "message_status": "accepted"}]}, "sent", "wamid.1"),
        ("meta", 200, {"messages": []}, "sent", ""),
        ("meta", 200, "not JSON", "sent", "accepted with an unreadable body"),
        (
            "meta",
            400,
            {"error": {"code": 131047, "message": "Re-engagement", "error_data": {"details": "24 hours"}}},
            "failed",
            "131047: 24 hours",
        ),
        ("meta", 400, {"error": {"code": 131056, "message": "pair rate limit"}}, "retry", "131056: pair rate limit"),
        ("meta", 400, {"error": "what"}, "failed", 'HTTP 400: {"error":"what"}'),
        ("meta", 500, {"error": {"code": 1, "message": "unknown"}}, "retry", "1: unknown"),
        ("meta", 502, "away", "retry", "HTTP 502"),
    ],
)
def test_what_an_answer_means(channel, status, body, kind, said):
    outcome = CHANNELS[channel].outcome(ProviderAnswer(status=status, body=orjson.dumps(body)))
    assert (outcome.kind, outcome.provider_message_id or outcome.reason) == (kind, said)


@pytest.mark.parametrize("channel", ["chat2desk", "twilio", "meta"])
@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "9" * 400}, 3600.0),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT", "date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 05 Jan 2026 09:00:00 GMT", "date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 06 Jan 2026 10:00:00 GMT", "date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 3600.0),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Mon, 05 Jan 2026 10:00:30 -0000", "date": "Mon, 05 Jan 2026 10:00:00 GMT"}, None),
        ({"retry-after": "soon", "date": "now"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_the_providers_wish_for_when_to_try_again(channel, headers, wait_s):
    outcome = CHANNELS[channel].outcome(ProviderAnswer(status=429, headers=headers, body=b"{}"))
    assert (outcome.kind, outcome.retry_after_s) == ("retry", wait_s)
