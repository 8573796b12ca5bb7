"""One try at a provider: render, send, read the answer. Every way in which it can end is a Try, or BreakerOpen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import httpx

from chatledger.adapters.breakers import Breaker
from chatledger.channels import CHANNELS
from chatledger.channels.base import Channel, OutboundRequest, OutboundSecrets, Outcome, ProviderAnswer
from chatledger.errors import BreakerOpen
from chatledger_notify.deliveries import Account, Delivery
from chatledger_notify.window import Form

Accounts = Mapping[Account, OutboundSecrets | None]
"""Where and as whom to send. None: the token is not set, so its messages wait."""
Breakers = Mapping[Account, Breaker]

NO_ACCOUNT = Outcome(kind="retry", reason="no token is set for this project's channel, or its project file is gone")
AMBIGUOUS_STATUSES = frozenset({504})
"""Somebody between us and the provider gave up waiting for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What came of a try: the outcome, the HTTP status where there was an answer, and why it may be tried again.

    `ambiguous`: the provider may have taken the message all the same. `down`: the provider is in trouble.
    """

    outcome: Outcome
    http_status: int | None = None
    ambiguous: bool = False
    down: bool = False


class _ProviderDown(Exception):
    """Tells the breaker that the try failed because of the provider."""

    def __init__(self, made: Try) -> None:
        super().__init__(made.outcome.reason)
        self.made = made


class Provider:
    """Sends over HTTP as the channels say, each account behind its breaker.

    A time-out, a broken connection or a 5xx opens the breaker in the end; a 429 or any other answer does not.
    """

    def __init__(
        self, client: httpx.AsyncClient, accounts: Accounts, breakers: Breakers, *, ambiguous_pause_s: float
    ) -> None:
        """`ambiguous_pause_s`: how long a provider that can call us back is given to tell that it took a message."""
        self._client, self._accounts, self._breakers = client, accounts, breakers
        self._ambiguous_pause_s = ambiguous_pause_s
        # A provider has few addresses for messages; reading one anew each time costs more than the request's headers.
        self._url = lru_cache(maxsize=1_000)(httpx.URL)

    def knows(self, project: str, channel: str) -> bool:
        """Whether this project is configured to use this channel."""
        return (project, channel) in self._accounts

    def look(self, account: Account) -> None:
        """Raise BreakerOpen where no call would be made now."""
        breaker = self._breakers.get(account)
        if breaker is not None and breaker.retry_after_s > 0:
            raise BreakerOpen(f"{breaker.name} is {breaker.state}", retry_after_s=breaker.retry_after_s)

    async def attempt(self, delivery: Delivery, form: Form) -> Try:
        """Send once. Raises BreakerOpen without having called the provider."""
        secrets, breaker = self._accounts.get(delivery.account), self._breakers.get(delivery.account)
        if secrets is None or breaker is None:
            return Try(outcome=NO_ACCOUNT)
        channel = CHANNELS[delivery.reply.channel]
        request = channel.render(delivery.id, delivery.reply, secrets, form.content_sid)
        try:
            return await breaker.call(lambda: self._call(channel, request))
        except _ProviderDown as wrong:
            made = wrong.made
        if made.ambiguous and secrets.callback_url:
            pause_s = max(made.outcome.retry_after_s or 0.0, self._ambiguous_pause_s)
            return replace(made, outcome=replace(made.outcome, retry_after_s=pause_s))
        return made

    async def _call(self, channel: Channel, request: OutboundRequest) -> Try:
        try:
            response = await self._client.send(
                httpx.Request(request.method, self._url(request.url), headers={**request.headers}, content=request.body)
            )
        except httpx.TransportError as wrong:
            outcome = Outcome(kind="retry", reason=f"{type(wrong).__name__}: {wrong}")
            ambiguous = not isinstance(wrong, httpx.ConnectError)
            raise _ProviderDown(Try(outcome=outcome, ambiguous=ambiguous, down=True)) from wrong
        answer = ProviderAnswer(status=response.status_code, headers=response.headers, body=response.content)
        outcome = channel.outcome(answer)
        if answer.status >= 500:
            ambiguous = answer.status in AMBIGUOUS_STATUSES
            raise _ProviderDown(Try(outcome=outcome, http_status=answer.status, ambiguous=ambiguous, down=True))
        return Try(outcome=outcome, http_status=answer.status)
