"""Checks that several channels share: tokens and HMACs, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

from chatledger.channels.base import WebhookRequest
from chatledger.projects import HmacScheme

DEFAULT_PORTS = {"https://": ":443", "http://": ":80"}
_URL = re.compile(r"(?P<scheme>https?://)(?P<host>[^/?#]*?)(?P<port>:[0-9]{1,5})?(?P<rest>[/?#].*)?", re.DOTALL)


def token_matches(given: str, accepted: Iterable[str]) -> bool:
    """Whether `given` is one of `accepted`. Every one is compared, so that time tells nothing."""
    matches = [hmac.compare_digest(given.encode(), token.encode()) for token in accepted]
    return any(matches)


def hmac_text(scheme: HmacScheme, secret: str, body: bytes) -> str:
    """Return the signature of `body` as the provider writes it in its header."""
    digest = hmac.new(secret.encode(), body, getattr(hashlib, scheme.algorithm)).digest()
    written = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
    return scheme.prefix + written


def hmac_matches(request: WebhookRequest, scheme: HmacScheme, secrets: Iterable[str]) -> bool:
    """Whether the request carries a right signature of its raw body."""
    given = request.headers.get(scheme.header.lower(), "")
    return token_matches(given, (hmac_text(scheme, secret, request.body) for secret in secrets))


def url_and_fields_text(url: str, fields: Mapping[str, Sequence[str]], secret: str, algorithm: str) -> str:
    """Return the signature of a URL and a form, in base64: names in order, each with its values, no separators.

    Of a name that is there more than once each different value counts once, in order. This is Twilio's scheme.
    """
    text = url + "".join(name + value for name in sorted(fields) for value in sorted(set(fields[name])))
    digest = hmac.new(secret.encode(), text.encode(), getattr(hashlib, algorithm)).digest()
    return base64.b64encode(digest).decode()


def with_and_without_port(url: str) -> tuple[str, ...]:
    """Return the ways in which a sender may have written `url`: with its port, or the scheme's own, and without."""
    found = _URL.fullmatch(url)
    if found is None:
        return (url,)
    start, rest = found["scheme"] + found["host"], found["rest"] or ""
    return (start + (found["port"] or DEFAULT_PORTS[found["scheme"]]) + rest, start + rest)
