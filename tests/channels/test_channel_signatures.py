"""Signatures: the providers' own vectors are taken, and nothing that differs from them in a bit.

`signature_vectors.json` was computed with the verifiers that the providers publish.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger.channels import CHANNELS
from chatledger.channels.base import InboundSecrets, WebhookRequest
from chatledger.channels.signatures import url_and_fields_text, with_and_without_port
from chatledger.errors import NotAuthentic
from chatledger.projects import ChannelSettings

VECTORS = orjson.loads((Path(__file__).parent / "signature_vectors.json").read_bytes())
MUTANTS = 10_000
SIGNATURE, SETTINGS = "x-twilio-signature", "x-twilio-webhooks-signature-settings"
SHA256 = "key=k1,algorithm=HMAC_SHA256"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Case:
    """A request that is authentic, and the secrets that show it. `signed_by` is the header of its signature."""

    channel: str
    request: WebhookRequest
    secrets: InboundSecrets
    signed_by: str = SIGNATURE

    def verify(self, request: WebhookRequest) -> None:
        CHANNELS[self.channel].verify(request, ChannelSettings(), self.secrets)


def twilio_case(name: str, secrets: InboundSecrets, **headers: str) -> Case:
    vector = VECTORS[name]
    request = WebhookRequest(
        headers=FORM | {SIGNATURE: vector["sig"]} | headers,
        query={},
        body=urlencode(vector["params"]).encode(),
        url=vector["url"],
    )
    return Case("twilio", request, secrets)


def meta_case() -> Case:
    vector = VECTORS["meta"]
    headers = {"content-type": "application/json", "x-hub-signature-256": vector["header"]}
    request = WebhookRequest(headers=headers, query={}, body=vector["body"].encode())
    return Case("meta", request, InboundSecrets(tokens=("retired", vector["app_secret"])), "x-hub-signature-256")


TOKENS = InboundSecrets(tokens=("retired", "tok"))
WHATSAPP = twilio_case("twilio_whatsapp_sha1", TOKENS)
CASES = {
    "twilio documentation": twilio_case("twilio_doc_sha1", InboundSecrets(tokens=("12345",))),
    "twilio sha1": WHATSAPP,
    "twilio sha256, shared key": twilio_case(
        "twilio_whatsapp_sha256", InboundSecrets(hmac_secrets=("old", "tok")), **{SETTINGS: SHA256}
    ),
    "twilio sha256, token": twilio_case("twilio_whatsapp_sha256", TOKENS, **{SETTINGS: SHA256}),
    "meta": meta_case(),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every_case
def test_the_providers_own_signature_is_taken(case):
    case.verify(case.request)


@every_case
def test_ten_thousand_that_differ_are_not(case):
    refused = 0
    for mutant in mutants(case, random.Random(2026)):
        with pytest.raises(NotAuthentic):
            case.verify(mutant)
        refused += 1
    assert refused == MUTANTS


@every_case
def test_other_secrets_and_none_are_refused(case):
    with pytest.raises(NotAuthentic):
        replace(case, secrets=InboundSecrets(tokens=("other",), hmac_secrets=("another",))).verify(case.request)
    with pytest.raises(NotAuthentic, match=CHANNELS[case.channel].variables.webhook_token):
        replace(case, secrets=InboundSecrets()).verify(case.request)


@every_case
@given(text=st.text(), other=st.text())
@settings(max_examples=200, deadline=None)
def test_any_header_is_refused_in_the_same_way(case, text, other):
    for name in (case.signed_by, SETTINGS):
        headers = {**case.request.headers, case.signed_by: other, name: text}
        with pytest.raises(NotAuthentic):
            case.verify(replace(case.request, headers=headers))


@pytest.mark.parametrize(
    "told",
    [
        "",
        "key=k1",
        "algorithm=HMAC_SHA256",
        "key=,algorithm=HMAC_SHA256",
        "key=k1,algorithm=HMAC_SHA1",
        "key=k1,algorithm=hmac_sha256",
        "key=k1,algorithm=none",
        "key=k1,algorithm=HMAC_SHA256,algorithm=none",
        "key=k1,key=k1,algorithm=HMAC_SHA256",
        "key=k1,algorithm=HMAC_SHA256,version=2",
        "key=k1;algorithm=HMAC_SHA256",
    ],
)
def test_settings_that_nobody_knows_shut_the_door(told):
    for name in ("twilio sha1", "twilio sha256, token"):
        case = CASES[name]
        with pytest.raises(NotAuthentic):
            case.verify(replace(case.request, headers={**case.request.headers, SETTINGS: told}))


def test_a_shared_key_signs_with_sha256_alone():
    with pytest.raises(NotAuthentic):
        replace(WHATSAPP, secrets=InboundSecrets(hmac_secrets=("tok",))).verify(WHATSAPP.request)


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_the_port_of_the_url_may_be_signed_or_not(port):
    signed = signed_form([("Body", "Hi")], url=f"https://example.test{port}/webhook")
    for url in {f"https://example.test{port}/webhook", "https://example.test/webhook"}:
        if port == ":8443" and url != signed.url:
            continue
        WHATSAPP.verify(replace(signed, url=url))
    with pytest.raises(NotAuthentic):
        WHATSAPP.verify(replace(signed, url="https://example.test:1/other"))


@pytest.mark.parametrize(
    ("url", "ways"),
    [
        ("https://a.test/x?y", ("https://a.test:443/x?y", "https://a.test/x?y")),
        ("http://a.test:80", ("http://a.test:80", "http://a.test")),
        ("https://a.test:1?y=:2/", ("https://a.test:1?y=:2/", "https://a.test?y=:2/")),
        ("http://[::1]:8000/x", ("http://[::1]:8000/x", "http://[::1]/x")),
        ("http://[::1]/x", ("http://[::1]:80/x", "http://[::1]/x")),
        ("https://user:1@a.test/x", ("https://user:1@a.test:443/x", "https://user:1@a.test/x")),
        ("", ("",)),
        ("/path", ("/path",)),
    ],
)
def test_with_and_without_port(url, ways):
    assert with_and_without_port(url) == ways


def test_values_of_one_name_count_once_and_in_order():
    fields = [("b", "2"), ("a", "z"), ("a", "é&="), ("a", "z"), ("empty", "")]
    text = "https://example.test/webhookaz" + "aé&=" + "b2" + "empty"

    WHATSAPP.verify(signed_form(fields, url="https://example.test/webhook"))
    assert (
        url_and_fields_text(text, {}, "tok", "sha1")
        == signed_form(fields, url="https://example.test/webhook").headers[SIGNATURE]
    )


@pytest.mark.parametrize("body", [b"a=%FF", b"\xff=1", b"Body", b"Body=1&", b"=&Body", b"&".join([b"a=1"] * 501)])
def test_a_form_that_cannot_be_read_is_refused_before_it_is_trusted(body):
    with pytest.raises(NotAuthentic):
        WHATSAPP.verify(replace(WHATSAPP.request, body=body))


def test_a_forms_hash_in_the_url_does_not_stand_for_its_fields():
    url = "https://example.test/webhook?bodySHA256=" + "0" * 64
    signed = signed_form([], url=url)
    with pytest.raises(NotAuthentic):
        WHATSAPP.verify(replace(signed, body=b"Body=forged", query={"bodySHA256": "0" * 64}))


def signed_form(fields: list[tuple[str, str]], *, url: str) -> WebhookRequest:
    listed: dict[str, list[str]] = {}
    for name, value in fields:
        listed.setdefault(name, []).append(value)
    signature = url_and_fields_text(url, listed, "tok", "sha1")
    return WebhookRequest(headers=FORM | {SIGNATURE: signature}, query={}, body=urlencode(fields).encode(), url=url)


def mutants(case: Case, chance: random.Random) -> Iterator[WebhookRequest]:
    """Requests that say something else than the case's, or say the same in the name of another signature.

    Of the settings header the key's id is left alone: it only says which key was used, and all are tried.
    """
    made = 0
    parts = ["body", "signature", "header name"]
    parts += ["url"] if case.channel == "twilio" else []
    parts += ["algorithm", "settings name"] if SETTINGS in case.request.headers else []
    while made < MUTANTS:
        mutant = mutated(case, chance.choice(parts), chance)
        if mutant is not None:
            made += 1
            yield mutant


def mutated(case: Case, part: str, chance: random.Random) -> WebhookRequest | None:
    """The request with one part changed; None where the change means nothing, such as %2B written as %2b."""
    request, headers = case.request, dict(case.request.headers)
    if part == "body":
        body = changed(request.body, chance)
        return (
            None
            if case.channel == "twilio" and fields_of(body) == fields_of(request.body)
            else replace(request, body=body)
        )
    if part == "url":
        return replace(request, url=changed(request.url.encode(), chance).decode("latin-1"))
    if part == "algorithm":
        headers[SETTINGS] = "key=k1," + changed(b"algorithm=HMAC_SHA256", chance).decode("latin-1")
        return replace(request, headers=headers) if headers[SETTINGS].replace(", ", ",").strip(" ") != SHA256 else None
    if part == "signature":
        headers[case.signed_by] = changed(headers[case.signed_by].encode(), chance).decode("latin-1")
        return replace(request, headers=headers)
    name = case.signed_by if part == "header name" else SETTINGS
    other = changed(name.encode(), chance).decode("latin-1").lower()
    if other == name:
        return None
    headers[other] = headers.pop(name)
    return replace(request, headers=headers)


def fields_of(body: bytes) -> dict[str, list[str]]:
    return parse_qs(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")


def changed(octets: bytes, chance: random.Random) -> bytes:
    """Some bits turned over, or an octet left out, or put in."""
    where, kind = chance.randrange(len(octets)), chance.random()
    if kind < 0.1:
        return octets[:where] + octets[where + 1 :]
    if kind < 0.2:
        return octets[:where] + bytes([chance.randrange(256)]) + octets[where:]
    turned = bytearray(octets)
    for _ in range(1 if kind < 0.9 else 3):
        turned[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return bytes(turned) if bytes(turned) != octets else changed(octets, chance)
