"""Checks that several channels share: tokens and HMACs, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from chatledger.channels.base import WebhookRequest
from chatledger.projects import HmacScheme


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
