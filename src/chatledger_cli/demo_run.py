"""One run of the demo against a running system: customers write over HTTP, each waits for its reply, all is counted."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from chatledger.errors import OutsideUnavailable
from chatledger_cli.demo_customers import Customer
from chatledger_cli.provider_stand_in import ACCEPTED, Answer, ReceivedMessage

REPLY_TIMEOUT_S = 30.0
"""A reply takes some 50 ms; a worker that was killed and takes its partitions again, some ten seconds."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the customers sent and saw."""

    webhooks: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    event_ids: set[str] = field(default_factory=set)
    reply_ms: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Replies:
    """The provider's side: hands each reply to the customer it is for, once."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self._keys: set[str] = set()

    @property
    def count(self) -> int:
        """How many different messages came."""
        return len(self._keys)

    def take(self, message: ReceivedMessage) -> Answer:
        """The stand-in's script: accept everything, and pass it on."""
        if message.idempotency_key not in self._keys:
            self._keys.add(message.idempotency_key)
            self._queues[message.client_id].put_nowait(message.text)
        return ACCEPTED

    async def next(self, client_id: int) -> str:
        """The next reply to a client. Raises TimeoutError."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            return await self._queues[str(client_id)].get()


class Conversations:
    """All customers at once, over one HTTP client."""

    def __init__(self, *, url: str, token: str, replies: Replies, told: Callable[[], None]) -> None:
        self._url = f"{url}/webhook/chat2desk"
        self._headers = {"content-type": "application/json", "x-webhook-token": token}
        self._replies, self._told = replies, told
        self.counts = Counts()

    async def run(self, customers: Sequence[Customer]) -> None:
        """Return when every customer is done. Raises OutsideUnavailable when a webhook is refused."""
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=15.0, headers=self._headers, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for customer in customers:
                tasks.create_task(self._talk(client, customer))

    async def _talk(self, client: httpx.AsyncClient, customer: Customer) -> None:
        for step in range(len(customer.texts)):
            started = time.monotonic()
            body = customer.webhook(step)
            await self._post(client, body)
            if customer.is_sent_twice(step):
                await self._post(client, body)
            try:
                text = await self._replies.next(customer.client_id)
            except TimeoutError:
                self.counts.missing.append(f"client {customer.client_id} got no reply to message {step + 1}")
                return
            self.counts.reply_ms.append((time.monotonic() - started) * 1000)
            if step == 0:
                await self._post(client, customer.echo(step, text))
            self._told()

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        self.counts.webhooks += 1
        try:
            answer = await client.post(self._url, content=orjson.dumps(body))
        except httpx.HTTPError as wrong:
            raise OutsideUnavailable(f"a webhook was not answered: {wrong!r}") from wrong
        if answer.status_code != 200:
            raise OutsideUnavailable(f"a webhook was refused: {answer.status_code} {answer.text}")
        self.counts.acknowledged += 1
        event_id = answer.headers["x-event-id"]
        self.counts.duplicates += event_id in self.counts.event_ids
        self.counts.event_ids.add(event_id)
