"""GET /health: whether the broker and Postgres answer, and how much waits in the queues.

What is asked comes in from outside as functions, so that this file knows neither Kafka nor Postgres.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

CHECK_TIMEOUT_S = 2.0
"""A check that has not answered by then has failed; whoever asks for health has a timeout too."""
REMEMBERED_FOR_S = 1.0
"""However often somebody asks, the broker and Postgres are asked once a second."""

Answer = TypeVar("Answer")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What can be asked. A check that returns has passed, one that raises has failed; None: there is nothing to ask.

    `message_queue` counts the records that the dialog has not read yet, `outbox_queue` the messages that wait to
    be sent.
    """

    broker: Callable[[], Awaitable[None]]
    postgres: Callable[[], Awaitable[None]] | None = None
    message_queue: Callable[[], Awaitable[int]] | None = None
    outbox_queue: Callable[[], Awaitable[int]] | None = None


class HealthReporter:
    """Asks all of a Health at once, and remembers the answer for a moment."""

    def __init__(self, health: Health, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._report: dict[str, Any] | None = None
        self._asked_at = 0.0

    async def report(self) -> dict[str, Any]:
        """Return the document of GET /health. A check that is not set up shows as null, as does an unknown queue."""
        async with self._lock:
            if self._report is None or self._monotonic() - self._asked_at >= REMEMBERED_FOR_S:
                self._report = await self._ask()
                self._asked_at = self._monotonic()
            return self._report

    async def _ask(self) -> dict[str, Any]:
        broker, postgres, message, outbox = await asyncio.gather(
            _passes("broker", self._health.broker),
            _passes("postgres", self._health.postgres),
            _asked("queues.message", self._health.message_queue),
            _asked("queues.outbox", self._health.outbox_queue),
        )
        healthy = broker is not False and postgres is not False
        return {
            "status": "healthy" if healthy else "unhealthy",
            "checks": {
                "broker": broker,
                "postgres": postgres,
                "queues": {"message": message, "outbox": outbox},
            },
        }


async def _passes(name: str, check: Callable[[], Awaitable[None]] | None) -> bool | None:
    if check is None:
        return None
    return await _asked(name, lambda: _true_after(check)) is True


async def _true_after(check: Callable[[], Awaitable[None]]) -> bool:
    await check()
    return True


async def _asked(name: str, question: Callable[[], Awaitable[Answer]] | None) -> Answer | None:
    if question is None:
        return None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await question()
    except Exception as wrong:
        # Whatever a client library raises, the answer is that the check has failed; the log says why.
        log.warning("health.check_failed", check=name, error=str(wrong) or type(wrong).__name__)
        return None
