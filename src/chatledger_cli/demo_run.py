"""One run of the demo against a running system: customers write over HTTP, wait for replies, and all is counted."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from chatledger.errors import OutsideUnavailable
from chatledger_cli.demo_scene import Customer, Posted, Scene
from chatledger_cli.provider_stand_in import ACCEPTED, Answer, ReceivedMessage

REPLY_TIMEOUT_S = 30.0
"""A reply takes some 50 ms; a worker that was killed and takes its partitions again, some ten seconds."""
CONNECTIONS_MAX = 100
REPORTED, REPORTED_IN_DISORDER = Answer(callbacks=("delivered", "read")), Answer(callbacks=("read", "delivered"))
DISORDERLY = "1"
"""How the numbers of those phones end whose reports overtake each other."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the customers of one project sent and saw."""

    webhooks: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    replies: int = 0
    event_ids: set[str] = field(default_factory=set)
    reply_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Replies:
    """The provider's side: hands each reply to the customer it is for, once."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self._keys: set[str] = set()
        self.reports_due = 0

    def take(self, message: ReceivedMessage) -> Answer:
        """The stand-in's script: accept everything, pass it on, and report on it where that is wanted."""
        if message.idempotency_key not in self._keys:
            self._keys.add(message.idempotency_key)
            self._queues[message.client_id].put_nowait(message.text)
        if not message.callback_url:
            return ACCEPTED
        self.reports_due += len(REPORTED.callbacks)
        return REPORTED_IN_DISORDER if message.client_id.endswith(DISORDERLY) else REPORTED

    async def next(self, client_id: str) -> str:
        """The next reply to a client. Raises TimeoutError."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            return await self._queues[client_id].get()

    def left(self, client_id: str) -> list[str]:
        """The texts that came for a client and that nobody waited for."""
        queue = self._queues[client_id]
        return [queue.get_nowait() for _ in range(queue.qsize())]


class Conversations:
    """All customers at once, over one HTTP client. `counts` is by project."""

    def __init__(self, *, url: str, replies: Replies, told: Callable[[], None]) -> None:
        self._url, self._replies, self._told = url, replies, told
        self.counts: defaultdict[str, Counts] = defaultdict(Counts)

    async def run(self, cast: Mapping[Scene, Sequence[Customer]]) -> None:
        """Return when every customer is done. Raises OutsideUnavailable when a webhook is refused."""
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        async with (
            httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=15.0, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for scene, customers in cast.items():
                for customer in customers:
                    tasks.create_task(self._talk(client, scene, customer, self.counts[scene.project.name]))

    def count_reports(self, scene: Scene, statuses: Sequence[tuple[str, int]], due: int) -> None:
        """Count the reports that the provider posted on its own: each status, and what was answered to it."""
        counts = self.counts[scene.project.name]
        counts.webhooks += len(statuses)
        counts.acknowledged += sum(answered == 200 for _, answered in statuses)
        if len(statuses) != due:
            counts.problems.append(f"{len(statuses)} reports on messages instead of {due}")
        counts.problems += [f"a report was answered {answered}" for _, answered in statuses if answered != 200]

    def count_unasked(self, cast: Mapping[Scene, Sequence[Customer]]) -> None:
        """Count the replies that came beyond those that were waited for. For when all is delivered."""
        for scene, customers in cast.items():
            counts = self.counts[scene.project.name]
            for customer in customers:
                for text in self._replies.left(customer.client_id):
                    counts.replies += 1
                    counts.problems.append(f"client {customer.client_id} was told too much: {text!r}")

    async def _talk(self, client: httpx.AsyncClient, scene: Scene, customer: Customer, counts: Counts) -> None:
        for number, step in enumerate(customer.steps):
            started = time.monotonic()
            posted = scene.webhook(customer, number, self._url)
            for _ in range(2 if customer.is_sent_twice(number) else 1):
                await self._post(client, posted, counts)
            for wanted in step.replies:
                try:
                    reply = await self._replies.next(customer.client_id)
                except TimeoutError:
                    counts.problems.append(f"client {customer.client_id} got no reply to {step.text!r}")
                    return
                if wanted is step.replies[0]:
                    counts.reply_ms.append((time.monotonic() - started) * 1000)
                counts.replies += 1
                if wanted not in reply:
                    counts.problems.append(f"client {customer.client_id}, {step.text!r}: told {reply!r}")
                if (echo := scene.echo(customer, number, reply)) is not None:
                    await self._post(client, echo, counts)
            self._told()

    async def _post(self, client: httpx.AsyncClient, posted: Posted, counts: Counts) -> None:
        counts.webhooks += 1
        try:
            answer = await client.post(posted.path, content=posted.body, headers=dict(posted.headers))
        except httpx.HTTPError as wrong:
            raise OutsideUnavailable(f"a webhook was not answered: {wrong!r}") from wrong
        if answer.status_code != 200:
            raise OutsideUnavailable(f"a webhook was refused: {answer.status_code} {answer.text}")
        counts.acknowledged += 1
        event_id = answer.headers["x-event-id"]
        counts.duplicates += event_id in counts.event_ids
        counts.event_ids.add(event_id)
