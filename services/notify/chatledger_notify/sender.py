"""Sends what is waiting: many clients at once, each client's messages one after the other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from chatledger.errors import BreakerOpen
from chatledger.metrics import SENT
from chatledger.ports import Clock
from chatledger_notify.attempts import Attempts
from chatledger_notify.deliveries import Account, Delivery, Result
from chatledger_notify.outbox import Outbox
from chatledger_notify.provider import Breakers
from chatledger_notify.queues import LONG_AGO, MESSAGES_OF_A_CLIENT_MAX, Client, ClientQueues
from chatledger_notify.store import NotifyStore

LOOK_EVERY_S = 0.25
"""How long parked clients may be overlooked at most: the wall clock may have been set."""
CLIENTS_AT_ONCE = 200


class Sender:
    """Workers over the clients' queues, and the loader that wakes parked clients when they are due.

    While a provider's breaker is open its clients wait, with nothing of theirs in memory. When its pause is over one of
    them is let go, to probe; when it closes, all are. Those whose own tries had failed go once it has stayed closed for
    as long as a pause lasts, and not only when their retry schedule says: the provider is back.
    """

    def __init__(
        self,
        *,
        store: NotifyStore,
        attempts: Attempts,
        breakers: Breakers,
        clock: Clock,
        monotonic: Callable[[], float],
        concurrency: int,
    ) -> None:
        self._store, self._attempts, self._breakers = store, attempts, breakers
        self._clock, self._monotonic, self._concurrency = clock, monotonic, concurrency
        self._turns: asyncio.Queue[Client | None] = asyncio.Queue()
        self.queues = ClientQueues(self._turns.put_nowait)
        self._being_sent: dict[str, Client] = {}
        self._ended_meanwhile: set[str] = set()
        self._not_closed: set[Account] = set()
        self._closed_since: dict[Account, float] = {}
        self._gate = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False

    def gate(self) -> AbstractAsyncContextManager[None]:
        """Held from before rows are committed until the queues know, so that no loading falls in between."""
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
        if result.next_attempt_at is None or result.delivery.id in self._ended_meanwhile:
            self._ended_meanwhile.discard(result.delivery.id)
            self.queues.ended(client, LONG_AGO)
        else:
            waits_for = result.delivery.account if result.provider_down else None
            self.queues.retry(client, result.next_attempt_at, waits_for=waits_for)
        if client.parked_until is not None:
            self._wake.set()

    def ended_by_report(self, delivery: Delivery) -> None:
        """The table says that a message was sent, though no try of ours had said so. The gate must be held."""
        if delivery.id in self._being_sent:
            self._ended_meanwhile.add(delivery.id)
        else:
            SENT.labels(delivery.reply.channel, "sent").inc()
            self.queues.drop(delivery.request.conversation, delivery.id)
            self._wake.set()

    def ended_meanwhile(self, delivery_id: str) -> bool:
        """Whether a message has ended by a report while it was being sent."""
        return delivery_id in self._ended_meanwhile

    def look_at_breakers(self) -> None:
        """A breaker has changed: somebody may have to be let go."""
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
                await self._send(client, delivery, outbox)

    async def _send(self, client: Client, delivery: Delivery, outbox: Outbox) -> None:
        self._being_sent[delivery.id] = client
        try:
            outbox.record(await self._attempts.make(delivery))
        except BreakerOpen:
            del self._being_sent[delivery.id]
            self._ended_meanwhile.discard(delivery.id)
            self.queues.wait_for(client, delivery.account)

    def _let_go(self) -> None:
        """Take up clients again who wait for a breaker: one while it looks for a probe, the rest when it has closed."""
        waited_for, now = self.queues.waited_for(), self._monotonic()
        for account, breaker in self._breakers.items():
            if breaker.state != "closed":
                self._not_closed.add(account)
                self._closed_since.pop(account, None)
                if account in waited_for and breaker.retry_after_s == 0:
                    self.queues.let_one_go(account)
            elif account in self._not_closed or account in waited_for:
                self._not_closed.discard(account)
                self._closed_since[account] = now
                self.queues.let_waiting_go(account)
            elif now - self._closed_since.get(account, math.inf) >= breaker.pause_s:
                del self._closed_since[account]
                self.queues.let_failed_go(account)

    async def _load_parked(self) -> None:
        while not self._stopping:
            self._wake.clear()
            async with self._gate:
                self._let_go()
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
