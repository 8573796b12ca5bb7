"""What every channel is: sans-I/O functions between a provider's bytes and our values.

A channel never sends and never reads a clock: `verify` and `parse` take a request as a value, `render` returns one,
`outcome` reads an answer. Secrets arrive as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from chatledger.events.base import Event
from chatledger.events.dialog import ReplyRequested
from chatledger.projects import ChannelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """A POST as it arrived. Header names are in lower case."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSecrets:
    """Who may post to one project over one channel. Lists, so that a secret can be rotated."""

    tokens: tuple[str, ...] = ()
    hmac_secrets: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is anything to check against."""
        return bool(self.tokens or self.hmac_secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One thing that a webhook told: whose it is, what makes it unique at the provider, and the event."""

    client_id: str
    dedupe_key: tuple[str, ...]
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundSecrets:
    """Where and as whom one project sends over one channel."""

    api_url: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRequest:
    """An HTTP request to a provider, as a value."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
    """An HTTP answer from a provider, as a value. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an answer means for the delivery. `retry` may come with the provider's own wish for when."""

    kind: Literal["sent", "retry", "failed"]
    provider_message_id: str = ""
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One provider. `media_types` is what its webhooks may be; `acknowledgement` is the body of our 200."""

    name: str
    media_types: tuple[str, ...]
    acknowledgement: bytes
    api_url: str
    api_url_env: str
    verify: Callable[[WebhookRequest, ChannelSettings, InboundSecrets], None]
    parse: Callable[[WebhookRequest], tuple[Received, ...]]
    render: Callable[[str, ReplyRequested, OutboundSecrets], OutboundRequest]
    outcome: Callable[[ProviderAnswer], Outcome]
