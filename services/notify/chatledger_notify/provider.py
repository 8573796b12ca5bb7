"""One try at a provider: render, send, read the answer. Every way in which it can end is an Outcome."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import httpx

from chatledger.channels import CHANNELS
from chatledger.channels.base import OutboundSecrets, Outcome, ProviderAnswer
from chatledger.events.envelope import project_of
from chatledger_notify.deliveries import Delivery

Account = tuple[str, str]
"""A project and one of its channels."""
Accounts = Mapping[Account, OutboundSecrets | None]
"""Where and as whom to send. None: the token is not set, so its messages wait."""

NO_ACCOUNT = Outcome(kind="retry", reason="no token is set for this project's channel, or its project file is gone")


class Provider:
    """Sends over HTTP as the channels say."""

    def __init__(self, client: httpx.AsyncClient, accounts: Accounts) -> None:
        self._client = client
        self._accounts = accounts
        # A provider has one address for messages; reading it anew each time costs more than the request's headers.
        self._url = lru_cache(maxsize=1_000)(httpx.URL)

    def knows(self, project: str, channel: str) -> bool:
        """Whether this project is configured to use this channel."""
        return (project, channel) in self._accounts

    async def attempt(self, delivery: Delivery) -> tuple[Outcome, int | None]:
        """Send once; return the outcome, and the HTTP status where there was an answer."""
        channel = CHANNELS[delivery.reply.channel]
        secrets = self._accounts.get((project_of(delivery.request.conversation), channel.name))
        if secrets is None:
            return NO_ACCOUNT, None
        request = channel.render(delivery.id, delivery.reply, secrets)
        try:
            response = await self._client.send(
                httpx.Request(request.method, self._url(request.url), headers={**request.headers}, content=request.body)
            )
        except httpx.TransportError as wrong:
            return Outcome(kind="retry", reason=f"{type(wrong).__name__}: {wrong}"), None
        answer = ProviderAnswer(status=response.status_code, headers=response.headers, body=response.content)
        return channel.outcome(answer), answer.status
