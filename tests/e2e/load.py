"""Many customers at once, at a steady pace, who do not wait for replies: load for what happens in its middle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from tests.e2e.dialogue import TEXTS, webhook
from tests.e2e.up_process import TOKEN

CONNECTIONS = 20


@dataclass(slots=True, kw_only=True)
class Load:
    """Each of `clients` says everything up to the order; in a thread of its own from start to end of a `with`.

    What is refused, or not answered, is sent again until `stop()`: the provider does so too.
    """

    url: str
    first_client: int
    clients: int
    webhooks_per_second: float
    acknowledged: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    """What was acknowledged, for who wants to say it again."""
    done: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def expected(self) -> int:
        """How many webhooks there will be."""
        return self.clients * len(TEXTS)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        assert self._thread is not None
        self._thread.join(60)

    async def _run(self) -> None:
        async with httpx.AsyncClient(
            base_url=self.url, headers={"x-webhook-token": TOKEN}, trust_env=False, timeout=15
        ) as http:
            pace = asyncio.create_task(self._pace(slots := asyncio.Semaphore(0)))
            clients = iter(range(self.first_client, self.first_client + self.clients))
            await asyncio.gather(*(self._customers(http, clients, slots) for _ in range(CONNECTIONS)))
            pace.cancel()
        self.done.set()

    async def _pace(self, slots: asyncio.Semaphore) -> None:
        while True:
            slots.release()
            await asyncio.sleep(1 / self.webhooks_per_second)

    async def _customers(self, http: httpx.AsyncClient, clients: Iterator[int], slots: asyncio.Semaphore) -> None:
        for client_id in clients:  # one iterator, shared by all connections
            for text in TEXTS:
                body = webhook(client_id, text)
                await slots.acquire()
                while not await self._sent(http, body):
                    if self._stopped.is_set():
                        return
                    await asyncio.sleep(0.2)

    async def _sent(self, http: httpx.AsyncClient, body: dict[str, object]) -> bool:
        try:
            answer = await http.post("/webhook/chat2desk", json=body)
        except httpx.HTTPError:
            return False
        if answer.status_code == 200:
            self.acknowledged.append(answer.headers["x-event-id"])
            self.bodies.append(body)
        return answer.status_code == 200
