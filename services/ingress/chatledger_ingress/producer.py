"""The publisher of the ingress: one idempotent Kafka producer, which is replaced when it is broken for good.

An idempotent producer of aiokafka retries for ever, which is right while the broker is away: it goes on where it was.
But it never recovers from a lost sequence (a batch that the broker refused, a broker that came back without its data)
or from an end of its sending task: each later send fails. Then a new producer takes over, with a new producer id.
Records that the old one still held were answered 503, or are now; they may be there all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chatledger.adapters.kafka import PUBLISH_TIMEOUT_S, KafkaPublisher
from chatledger.errors import BrokerUnavailable, OutsideUnavailable
from chatledger.events.envelope import Envelope

STUCK_AFTER_S = 10.0
"""Failures for so long without an acknowledgement, and a new producer is tried beside the old one."""
TRY_AGAIN_AFTER_S = 1.0
"""The pause between two attempts to reach a broker."""
START_TIMEOUT_S = 8.0
GRACE_S = 1.0
"""A broker that is back reaches both producers at once; the old one, which keeps the order, gets so long to go on."""
STOP_TIMEOUT_S = 5.0

log = structlog.get_logger()


class RenewingPublisher:
    """The port Publisher. While no broker answers it refuses at once, or in `timeout_s`, and keeps trying."""

    def __init__(
        self,
        new_producer: Callable[[], Awaitable[AIOKafkaProducer]],
        *,
        timeout_s: float = PUBLISH_TIMEOUT_S,
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self._new_producer = new_producer
        self._timeout_s = timeout_s
        self._stuck_after_s = stuck_after_s
        self._producer: AIOKafkaProducer | None = None
        self._publisher: KafkaPublisher | None = None
        self._acknowledged_at = time.monotonic()
        self._broken_for_good = False
        self._wanted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try to reach the broker once; after that, go on trying in the background until `stop`."""
        try:
            self._use(await self._started())
        except OutsideUnavailable as wrong:
            log.warning("broker.away", error=str(wrong))
            self._wanted.set()
        self._keeper = asyncio.create_task(self._keep(), name="producer-keeper")

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Return when the broker has all of them. Raises BrokerUnavailable."""
        publisher = self._publisher
        if publisher is None:
            raise BrokerUnavailable("no broker has answered yet")
        try:
            await publisher.publish(topic, envelopes)
        except BrokerUnavailable as wrong:
            if publisher is self._publisher:
                self._consider_renewal(wrong.__cause__)
            raise
        self._acknowledged_at = time.monotonic()

    async def check(self) -> None:
        """Ask the broker for its metadata, as a health check. Raises OutsideUnavailable."""
        if self._producer is None:
            raise BrokerUnavailable("no broker has answered yet")
        try:
            await self._producer.client.fetch_all_metadata()
        except KafkaError as wrong:
            raise BrokerUnavailable(f"the broker does not tell its metadata: {wrong}") from wrong

    async def stop(self) -> None:
        """Send what is still waiting, in bounded time, and close."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._producer is not None:
            await _close(self._producer, flush=True)
        self._producer = self._publisher = None

    def _consider_renewal(self, cause: BaseException | None) -> None:
        lost = isinstance(cause, KafkaError) and not cause.retriable
        self._broken_for_good = self._broken_for_good or lost
        if lost or time.monotonic() - self._acknowledged_at > self._stuck_after_s:
            self._wanted.set()

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            asked_at = time.monotonic()
            try:
                replacement = await self._started()
            except OutsideUnavailable:
                await asyncio.sleep(TRY_AGAIN_AFTER_S)
                continue
            if self._producer is not None and not self._broken_for_good:
                await asyncio.sleep(GRACE_S)
            self._wanted.clear()
            if self._producer is not None and not self._broken_for_good and self._acknowledged_at > asked_at:
                await _close(replacement, flush=False)
                continue
            old = self._producer
            self._use(replacement)
            if old is not None:
                log.warning("producer.replaced")
                await _close(old, flush=False)
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    async def _started(self) -> AIOKafkaProducer:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await self._new_producer()
        except TimeoutError as wrong:
            raise BrokerUnavailable("no broker answers in time") from wrong

    def _use(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._publisher = KafkaPublisher(producer, timeout_s=self._timeout_s)
        self._broken_for_good = False
        self._acknowledged_at = time.monotonic()


async def _close(producer: AIOKafkaProducer, *, flush: bool) -> None:
    """Stop a producer in bounded time. Without `flush`, whoever waits for it gets an error at once."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            if not flush:
                # aiokafka has no stop that gives up what is waiting; this is what it does when its sender dies.
                producer._message_accumulator.fail_all(KafkaError("the producer was replaced"))
            await producer.stop()
    except Exception as wrong:
        # A broken producer may fail in any way while it is taken apart; what counts is that it is gone.
        log.warning("producer.not_stopped_cleanly", error=repr(wrong))
        await producer.client.close()
