"""The question by GET with which Meta, and what is built like it, makes sure that a webhook's address is ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from chatledger.channels.base import InboundSecrets
from chatledger.channels.signatures import token_matches
from chatledger.errors import NotAuthentic

_CHALLENGE = re.compile(r"[\w.~:+/=-]{1,512}", re.ASCII)
"""A number, so far. Nothing that a browser could take for a page is ever given back."""


def answer_challenge(query: Mapping[str, str], secrets: InboundSecrets) -> bytes:
    """Return the `hub.challenge` of who knows a verify token. Raises NotAuthentic for anybody else."""
    if not secrets.verify_tokens:
        raise NotAuthentic("set WHATSAPP_VERIFY_TOKEN to the token that the provider is told")
    known = token_matches(query.get("hub.verify_token", ""), secrets.verify_tokens)
    challenge = query.get("hub.challenge", "")
    if not known or query.get("hub.mode") != "subscribe" or _CHALLENGE.fullmatch(challenge) is None:
        raise NotAuthentic("send hub.mode=subscribe, a valid hub.verify_token, and hub.challenge")
    return challenge.encode()
