"""Who may post: tokens, rotated tokens, signatures in each form; and where nothing guards a door, loopback only."""

from __future__ import annotations

import base64
import hashlib
import hmac as hmac_module
from dataclasses import replace

import orjson
import pytest

from chatledger.channels.base import InboundSecrets
from chatledger.errors import ConfigurationError
from chatledger.projects import ChannelSettings, HmacScheme
from chatledger_ingress.secrets import Door, is_loopback, open_doors, read_secrets, shut_doors
from tests.services.ingress_app import PATH, PROJECTS, REFERENCE, ingress

BODY = orjson.dumps(REFERENCE | {"text": "naïve 😀"})
TOKENS = InboundSecrets(tokens=("old-token", "new-token"))


@pytest.mark.parametrize("token", ["old-token", "new-token"])
async def test_every_listed_token_opens_by_query_and_by_header(token):
    service = ingress(secrets=TOKENS)

    by_query = await service.post(path=f"{PATH}?token={token}")
    by_header = await service.post(headers={"x-webhook-token": token})

    assert (by_query.status_code, by_header.status_code) == (200, 200)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, {}),
        (f"{PATH}?token=", {}),
        (f"{PATH}?token=new-toke", {}),
        (f"{PATH}?token=new-token-", {}),
        (f"{PATH}?token=%FF%00%ED%A0%80", {}),
        (f"{PATH}?Token=new-token", {}),
        (PATH, {"x-webhook-token": "wrong"}),
        (PATH, {"x-webhook-token": b"\xff\xfe"}),
        (PATH, {"authorization": "new-token"}),
    ],
)
async def test_anything_else_is_401_and_tells_no_secret(path, headers):
    service = ingress(secrets=TOKENS)

    answer = await service.post(path=path, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:chatledger:problem:not-authentic"
    assert answer.json()["instance"] == PATH
    assert "www-authenticate" in answer.headers
    assert "new-token" not in answer.text
    assert service.publisher.published == []


async def test_a_query_of_a_thousand_fields_is_400():
    answer = await ingress(secrets=TOKENS).post(path=f"{PATH}?{'&'.join(['a=1'] * 1000)}")
    assert answer.status_code == 400


async def test_a_stranger_does_not_use_up_the_projects_limit():
    service = ingress(secrets=TOKENS)

    strangers = [await service.post(headers={"x-webhook-token": "wrong"}) for _ in range(2_100)]
    friend = await service.post(headers={"x-webhook-token": "new-token"})

    assert {answer.status_code for answer in strangers} == {401}
    assert friend.status_code == 200


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("prefix", ["", "sha256="])
async def test_a_signed_body_is_taken_and_a_changed_one_is_not(encoding, algorithm, prefix):
    scheme = HmacScheme(
        header="X-Signature", algorithm=algorithm, encoding=encoding, prefix=prefix, secret_env="SIGNING"
    )
    service = ingress(hmac=scheme, secrets=InboundSecrets(hmac_secrets=("retired", "s3cret")))
    digest = hmac_module.new(b"s3cret", BODY, getattr(hashlib, algorithm)).digest()
    signature = prefix + (digest.hex() if encoding == "hex" else base64.b64encode(digest).decode())

    right = await service.post(BODY, headers={"x-signature": signature})
    changed = await service.post(BODY + b" ", headers={"x-signature": signature})
    without = await service.post(BODY)
    unprefixed = await service.post(BODY, headers={"x-signature": f"v0={signature}"})

    assert right.status_code == 200
    assert [answer.status_code for answer in (changed, without, unprefixed)] == [401, 401, 401]
    assert len(service.publisher.published) == 1


def test_secrets_are_lists_in_the_environment():
    environment = {"CHAT2DESK_WEBHOOK_TOKEN": " one, two three,,four "}

    secrets = read_secrets(PROJECTS, environment)

    assert secrets[Door("order-form", "chat2desk")].tokens == ("one", "two", "three", "four")
    assert read_secrets(PROJECTS, {})[Door("order-form", "chat2desk")].any is False


def test_a_signing_secret_is_read_from_the_variable_that_the_project_names():
    project = PROJECTS["order-form"]
    signed = replace(project.channels["chat2desk"], hmac=HmacScheme(header="X-Signature", secret_env="SIGNING"))
    projects = {"order-form": replace(project, channels={"chat2desk": signed})}

    secrets = read_secrets(projects, {"SIGNING": "a b"})

    assert secrets[Door("order-form", "chat2desk")].hmac_secrets == ("a", "b")
    assert open_doors(projects, secrets, host="0.0.0.0") == []


def test_an_unguarded_door_is_for_loopback_only():
    door = Door("order-form", "chat2desk")

    assert open_doors(PROJECTS, {}, host="127.0.0.1") == [door]
    with pytest.raises(ConfigurationError, match="CHAT2DESK_WEBHOOK_TOKEN"):
        open_doors(PROJECTS, {}, host="0.0.0.0")
    assert open_doors(PROJECTS, {door: TOKENS}, host="0.0.0.0") == []


def test_a_door_that_is_always_signed_is_shut_without_a_secret_and_never_open():
    doors = [Door("order-form", "twilio"), Door("order-form", "meta")]
    projects = {
        "order-form": replace(PROJECTS["order-form"], channels={"twilio": ChannelSettings(), "meta": ChannelSettings()})
    }

    secrets = read_secrets(projects, {"TWILIO_SHARED_KEYS": "one, two", "WHATSAPP_VERIFY_TOKEN": "v"})

    assert open_doors(projects, {}, host="0.0.0.0") == []
    assert shut_doors(projects, {}) == doors
    assert shut_doors(projects, secrets) == doors[1:]
    assert secrets[doors[0]] == InboundSecrets(hmac_secrets=("one", "two"), verify_tokens=("v",))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_what_counts_as_loopback(host, loopback):
    assert is_loopback(host) is loopback
