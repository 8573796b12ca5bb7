"""What every channel is: sans-I/O functions between a provider's bytes and our values.

A channel never sends and never reads a clock: `verify` and `parse` take a request as a value, `render` returns one,
`outcome` reads an answer. Secrets arrive as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from chatledger.events.base import Event
from chatledger.events.dialog import ReplyRequested
from chatledger.projects import ChannelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """A POST as it arrived. Header names are in lower case. `url` is the one that the sender posted to, whole."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSecrets:
    """Who may post to one project over one channel. Lists, so that a secret can be rotated.

    `verify_tokens` answer a provider that asks, by GET, whether the URL is ours.
    """

    tokens: tuple[str, ...] = ()
    hmac_secrets: tuple[str, ...] = ()
    verify_tokens: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is anything to check a POST against."""
        return bool(self.tokens or self.hmac_secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One thing that a webhook told: whose it is, what makes it unique at the provider, and the event."""

    client_id: str
    dedupe_key: tuple[str, ...]
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundSecrets:
    """Where and as whom one project sends over one channel.

    `account` and `sender` are what the provider calls ours; `callback_url` is where it may report what became of a
    message, empty where it cannot reach us.
    """

    api_url: str
    token: str
    account: str = ""
    sender: str = ""
    callback_url: str = ""


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

    kind: Literal["sent", "retry", "failed", "blocked"]
    provider_message_id: str = ""
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The environment variables that hold a channel's secrets, unless a project names its own. None: it has none.

    `webhook_token` checks webhooks, `hmac_secret` signatures where the project says no scheme of its own.
    """

    webhook_token: str
    api_token: str
    hmac_secret: str | None = None
    account: str | None = None
    sender: str | None = None
    verify_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One provider. `media_types` is what its webhooks may be; `acknowledgement` is the body of our 200.

    `free_text_window` is for how long after a client's message free text may be sent to them, None: always; then
    `render` is given the id of a template. `reports`: it tells by its webhooks what became of our messages.
    `paths` are further addresses of its webhooks beside `/webhook/<name>`.
    Where `always_signed`, a project without secrets takes no webhooks at all. `challenge` answers a GET.
    """

    name: str
    media_types: tuple[str, ...]
    acknowledgement: bytes
    acknowledgement_type: str = "application/json"
    api_url: str
    api_url_env: str
    variables: Variables
    paths: tuple[str, ...] = ()
    always_signed: bool = False
    free_text_window: timedelta | None = None
    reports: bool = False
    challenge: Callable[[Mapping[str, str], InboundSecrets], bytes] | None = None
    verify: Callable[[WebhookRequest, ChannelSettings, InboundSecrets], None]
    parse: Callable[[WebhookRequest], tuple[Received, ...]]
    render: Callable[[str, ReplyRequested, OutboundSecrets, str | None], OutboundRequest]
    outcome: Callable[[ProviderAnswer], Outcome]

    def variables_for(self, settings: ChannelSettings) -> Variables:
        """Return the variables that hold one project's secrets: the project's own names before the channel's."""
        return Variables(
            webhook_token=settings.webhook_token_env or self.variables.webhook_token,
            api_token=settings.api_token_env or self.variables.api_token,
            hmac_secret=settings.hmac.secret_env if settings.hmac else self.variables.hmac_secret,
            account=settings.account_env or self.variables.account,
            sender=settings.sender_env or self.variables.sender,
            verify_token=settings.verify_token_env or self.variables.verify_token,
        )
