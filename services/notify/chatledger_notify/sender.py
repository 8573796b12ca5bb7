"""Sends what is waiting: many clients at once, each client's messages one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import structlog

from chatledger.logs import about
from chatledger.metrics import REPLY_AGE, SENT
from chatledger.ports import Clock
from chatledger_notify.deliveries import Delivery, Result, result_of
from chatledger_notify.failpoint import AFTER_SEND, Failpoint
from chatledger_notify.outbox import Outbox
from chatledger_notify.provider import Provider
from chatledger_notify.queues import MESSAGES_OF_A_CLIENT_MAX, Client, ClientQueues
from chatledger_notify.schedule import RetrySchedule
from chatledger_notify.store import NotifyStore

LOOK_EVERY_S = 0.25
"""How long parked clients may be overlooked at most: the wall clock may have been set."""
CLIENTS_AT_ONCE = 200
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger()


class Sender:
    """Workers over the clients' queues, and the loader that wakes parked clients when they are due."""

    def __init__(
        self,
        *,
        store: NotifyStore,
        provider: Provider,
        clock: Clock,
        jitter: Callable[[], float],
        schedule: RetrySchedule,
        concurrency: int,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._store, self._provider, self._clock, self._jitter = store, provider, clock, jitter
        self._schedule, self._concurrency, self._failpoint = schedule, concurrency, failpoint
        self._turns: asyncio.Queue[Client | None] = asyncio.Queue()
        self.queues = ClientQueues(self._turns.put_nowait)
        self._being_sent: dict[str, Client] = {}
        self._gate = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False

    def gate(self) -> AbstractAsyncContextManager[None]:
        """Held from before a batch is committed until it was offered, so that no loading falls in between."""
        return self._gate

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take what was just committed. The gate must be held."""
        now = self._clock.now()
        for delivery in deliveries:
            self.queues.offer(delivery, now)

    async def take_from_table(self, partition: int) -> None:
        """Find all of a partition that the table has and the queues may not. The gate must be held."""
        for conversation, due in await self._store.clients_waiting(partition):
            self.queues.found(conversation, partition, due or LONG_AGO)
        self._wake.set()

    def settled(self, result: Result) -> None:
        """The table has this result: the client's next message may go, or the client waits."""
        client = self._being_sent.pop(result.delivery.id)
        if result.next_attempt_at is not None:
            self.queues.retry(client, result.next_attempt_at)
        else:
            self.queues.ended(client, LONG_AGO)
        if client.parked_until is not None:
            self._wake.set()

    def stop(self) -> None:
        """Let `run` end when what is being sent has been answered."""
        self._stopping = True
        self._wake.set()
        for _ in range(self._concurrency):
            self._turns.put_nowait(None)

    async def run(self, outbox: Outbox) -> None:
        """Send until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load_parked())
            for _ in range(self._concurrency):
                group.create_task(self._work(outbox))

    async def _work(self, outbox: Outbox) -> None:
        while (client := await self._turns.get()) is not None and not self._stopping:
            delivery = self.queues.start(client)
            if delivery is not None:
                self._being_sent[delivery.id] = client
                outbox.record(await self._attempt(delivery))

    async def _attempt(self, delivery: Delivery) -> Result:
        outcome, http_status = await self._provider.attempt(delivery)
        if self._failpoint is not None:
            self._failpoint.reached(AFTER_SEND)
        result = result_of(
            delivery,
            outcome,
            http_status=http_status,
            at=self._clock.now(),
            schedule=self._schedule,
            jitter=self._jitter(),
        )
        _tell(result)
        return result

    async def _load_parked(self) -> None:
        while not self._stopping:
            self._wake.clear()
            async with self._gate:
                clients = self.queues.due(self._clock.now(), limit=CLIENTS_AT_ONCE)
                if clients:
                    await self._load(clients)
            if not clients:
                await self._sleep()

    async def _load(self, clients: Sequence[Client]) -> None:
        limit = MESSAGES_OF_A_CLIENT_MAX
        rows = await self._store.load_waiting([(c.partition, c.conversation) for c in clients], limit=limit + 1)
        messages: dict[str, list[Delivery]] = {client.conversation: [] for client in clients}
        for delivery in rows:
            messages[delivery.request.conversation].append(delivery)
        for client in clients:
            found = messages[client.conversation]
            self.queues.load(client, found[:limit], more_in_table=len(found) > limit)

    async def _sleep(self) -> None:
        due = self.queues.next_due()
        pause_s = LOOK_EVERY_S if due is None else (due - self._clock.now()).total_seconds()
        try:
            async with asyncio.timeout(min(LOOK_EVERY_S, max(0.0, pause_s))):
                await self._wake.wait()
        except TimeoutError:
            return


def _tell(result: Result) -> None:
    """Put a try into the metrics and the log; what was written to the client is masked."""
    request = result.delivery.request
    age_s = max(0.0, (result.at - request.time).total_seconds())
    if result.ended:
        SENT.labels(result.delivery.reply.channel, result.status).inc()
    if result.status == "sent":
        REPLY_AGE.observe(age_s)
    _log.log(
        20 if result.status == "sent" else 30,
        f"delivery.{result.status}",
        **about(request),
        attempts=result.attempts,
        age_s=round(age_s, 3),
        http_status=result.http_status,
        reason=result.reason,
        next_attempt_at=result.next_attempt_at and result.next_attempt_at.isoformat(),
    )
