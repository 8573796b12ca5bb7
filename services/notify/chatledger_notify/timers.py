"""The timer service: when a timer's time has come it publishes `timer.fired` to chat.inbound, then forgets it.

A timer that fired and was not forgotten, because the process ended in between, fires again with the same event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from chatledger.errors import OutsideUnavailable, ProducerBroken
from chatledger.events.dialog import TimerRequested
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inbound import TimerFired
from chatledger.ports import Clock, Publisher
from chatledger.topics import INBOUND

SOURCE = "/chatledger/notify/timers"
LOOK_EVERY_S = 10.0
"""How long a sleep may last at most: the wall clock may have been set."""
RETRY_PAUSE_S = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A timer.requested event as the table keeps it. `version` is the event's in its stream."""

    conversation: str
    kind: str
    due: datetime
    timer_id: str
    version: int
    partition: int
    correlation_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimer:
    """A timer whose time has come. `fired_at` is the time of its event at every publication."""

    conversation: str
    kind: str
    due: datetime
    timer_id: str
    correlation_id: str
    traceparent: str | None
    fired_at: datetime


class TimerStore(Protocol):
    """What the timer service needs of the table."""

    async def claim_timers(self, partitions: Sequence[int], now: datetime) -> list[DueTimer]:
        """Fix the time of the timers that are due and return some of them, oldest first."""
        ...

    async def delete_timers(self, fired: Sequence[DueTimer]) -> None:
        """Forget timers that have fired, but for those that were set anew in the meantime."""
        ...

    async def next_timer(self, partitions: Sequence[int]) -> datetime | None:
        """When the next timer is due."""
        ...


def timer_of(envelope: Envelope, requested: TimerRequested, partition: int) -> Timer:
    """Return what an event asks for; `partition` is the event's."""
    return Timer(
        conversation=envelope.conversation,
        kind=requested.kind,
        due=requested.due,
        timer_id=envelope.id,
        version=envelope.stream_version or 0,
        partition=partition,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
    )


def fired_event(timer: DueTimer) -> Envelope:
    """Return the event of a timer: nobody's decision, so without a version, but caused by the request."""
    return Envelope(
        id=derive_id(timer.timer_id, "fired"),
        source=SOURCE,
        conversation=timer.conversation,
        time=timer.fired_at,
        stream=f"conversation-{timer.conversation}",
        stream_version=None,
        correlation_id=timer.correlation_id,
        causation_id=timer.timer_id,
        traceparent=timer.traceparent,
        data=TimerFired(timer_id=timer.timer_id, kind=timer.kind, due=timer.due),
    )


class TimerService:
    """Sleeps until the next timer of its partitions is due; `wake` says that there may be an earlier one."""

    def __init__(
        self, *, store: TimerStore, publisher: Publisher, clock: Clock, owned: Callable[[], Sequence[int]]
    ) -> None:
        self._store, self._publisher, self._clock, self._owned = store, publisher, clock, owned
        self._wake = asyncio.Event()
        self._next_due: datetime | None = None
        self._stopping = False

    def expect(self, due: datetime) -> None:
        """A timer was set: do not sleep for longer than until `due`."""
        if self._next_due is None or due < self._next_due:
            self._wake.set()

    def wake(self) -> None:
        """Look at the table now."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Fire timers until `stop`. Raises ProducerBroken: end the process."""
        while not self._stopping:
            self._wake.clear()
            try:
                fired = await self._fire()
            except ProducerBroken:
                raise
            except OutsideUnavailable as wrong:
                _log.warning("timers.not_published", reason=str(wrong))
                await self._sleep(RETRY_PAUSE_S)
                continue
            if not fired:
                await self._sleep(await self._pause_s())

    async def _fire(self) -> int:
        partitions = self._owned()
        due = await self._store.claim_timers(partitions, self._clock.now()) if partitions else []
        if due:
            await self._publisher.publish(INBOUND, [fired_event(timer) for timer in due])
            await self._store.delete_timers(due)
            _log.info("timers.fired", count=len(due))
        return len(due)

    async def _pause_s(self) -> float:
        partitions = self._owned()
        self._next_due = await self._store.next_timer(partitions) if partitions else None
        if self._next_due is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, (self._next_due - self._clock.now()).total_seconds()))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
