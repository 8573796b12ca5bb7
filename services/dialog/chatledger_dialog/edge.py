"""The Faust side of the dialog worker: the app, its one agent, and who owns a batch.

The agent reads the channel's queue itself and acknowledges by hand, in order, after the batch's outputs and states are
acknowledged by the broker (docs/adr/0002-dialog-reads-faust-channel-directly.md). It neither returns nor raises: an
unexpected error goes into `failed`, and the agent parks, so that Faust's supervisor starts no second one behind it.
Open: a worker that is stopped between the last ownership check and the write to the socket can still write late.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError

from chatledger import topics
from chatledger.errors import InvariantViolated, LostOwnership, OutsideUnavailable
from chatledger_dialog.handlers import BatchHandler
from chatledger_dialog.lean_transport import LeanTransport, QuietMonitor
from chatledger_dialog.settings import DialogSettings
from chatledger_dialog.states import States

Prepare = Callable[[int, Callable[[], None]], Awaitable[None]]
"""As `CatchUp.prepare`: a partition, and who raises when it is not this worker's any more."""
COMMIT_EVERY_S = 1.0
"""A rebalance reads again what was acknowledged since the last commit, so this is kept short."""
POLL_PAUSE_S = 0.01
"""Between two looks at what Faust has no event for."""
ASK_ENDS_TIMEOUT_S = 5.0
"""How long the broker has to tell how far chat.inbound goes."""
QUEUE_RECORDS_MAX = 4_096
"""Records between the consumer and the agent."""


def new_faust_app(settings: DialogSettings, *, data_dir: Path) -> faust.App:
    """Return Faust's app: states in memory, no web server, no leader topic, no topic creation."""
    app = faust.App(
        topics.DIALOG_GROUP,
        broker=[f"kafka://{server}" for server in settings.broker.split(",")],
        store="memory://",
        datadir=str(data_dir),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=topics.PARTITIONS,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_request_timeout=max(30.0, settings.session_timeout_s + 5),
        broker_commit_interval=COMMIT_EVERY_S,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance_id,
        consumer_metadata_max_age_ms=30_000,
        stream_wait_empty=False,
        stream_buffer_maxsize=QUEUE_RECORDS_MAX,
        stream_recovery_delay=0.0,
        monitor=QuietMonitor(),
    )
    app.transport = LeanTransport(app.conf.broker_consumer, app)
    return app


class DialogEdge:
    """The agent over chat.inbound, and what the process must know of it: progress, lag, failure.

    `app` is a faust.App; it is typed as Any because its types leave out the internals that are used here.
    """

    def __init__(self, app: Any, *, session_timeout_s: float, batch_records_max: int, table_version: int = 1) -> None:
        raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
        inbound = app.topic(
            topics.INBOUND, **raw, key_serializer="raw", value_serializer="raw", partitions=topics.PARTITIONS
        )
        self._table = app.Table(topics.table_name(table_version), **raw, partitions=topics.PARTITIONS)
        changelog = topics.changelog(table_version)
        if self._table.changelog_topic_name != changelog:
            raise InvariantViolated(f"Faust's changelog is {self._table.changelog_topic_name}, not {changelog}")
        self.app = app
        self.states = States(self._table.data)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.progress_at = time.monotonic()
        self._batch_age_max_s = session_timeout_s / 2
        self._batch_records_max = batch_records_max
        self._handler: BatchHandler | None = None
        self._prepare: Prepare | None = None
        self._prepared: set[int] = set()
        self._preparing = False
        self._states_lock = asyncio.Lock()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._log = structlog.get_logger()
        app.agent(inbound, name="dialog", concurrency=1)(self._agent)
        app.on_partitions_revoked.connect(self._revoked, weak=False)

    def use(self, handler: BatchHandler, prepare: Prepare | None = None) -> None:
        """Say who handles the batches, and what has to be done before a partition's first; before the app starts."""
        self._handler = handler
        self._prepare = prepare

    async def drain(self) -> None:
        """Take no further batch, wait for the one in hand, and commit what is acknowledged."""
        self._draining = True
        await self._idle.wait()
        await self.app.consumer.commit()

    def lag(self) -> dict[int, int]:
        """Records of chat.inbound behind, by assigned partition; none before the first fetch or `ask_ends`."""
        consumer, lags = self.app.consumer, {}
        for each in consumer.assignment():
            if each.topic != topics.INBOUND:
                continue
            known = [end for end in (consumer.highwater(each), self._ends.get(each.partition)) if end is not None]
            if known:
                done = self._next.get(each.partition) or consumer._committed_offset.get(each) or 0
                lags[each.partition] = max(0, max(known) - done)
        return lags

    async def ask_ends(self) -> None:
        """Ask the broker how far chat.inbound goes: where fetching is what is stuck, the last fetch tells no lag.

        A broker that does not answer changes nothing.
        """
        consumer = self.app.consumer
        partitions = [each for each in consumer.assignment() if each.topic == topics.INBOUND]
        try:
            async with asyncio.timeout(ASK_ENDS_TIMEOUT_S):
                ends = await consumer.highwaters(*partitions) if partitions else {}
        except (KafkaError, TimeoutError) as error:
            self._log.warning("broker.tells_no_ends", error=repr(error))
            return
        self._ends = {each.partition: end for each, end in ends.items()}

    @property
    def recovering(self) -> bool:
        """Whether the table is being read from the changelog, or the group is being arranged anew."""
        return bool(self.app.rebalancing or self.app.tables.recovery.in_recovery)

    async def _agent(self, stream: Any) -> None:
        queue = stream.channel.queue
        try:
            while True:
                events = [await queue.get()]
                while len(events) < self._batch_records_max and not queue.empty():
                    events.append(queue.get_nowait())
                await self._batch(events)
        except StopAsyncIteration:  # Faust throws it into the queue when it stops the stream
            if not self.app.should_stop:
                self._fail(OutsideUnavailable("Faust ended the stream while the worker runs"))
        except Exception as error:
            self._fail(error)
        await asyncio.Event().wait()

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _batch(self, events: list[Any]) -> None:
        if self._draining:
            await asyncio.Event().wait()
        assert self._handler is not None, "use() comes before the app starts"
        generation = self.app.consumer_generation_id
        while self.app.rebalancing and self.app.consumer_generation_id == generation:  # noqa: ASYNC110  # no event tells it
            # Faust delivers a moment before it says that the rebalance is over; to give these up would lose them.
            await asyncio.sleep(POLL_PAUSE_S)
        current = self.app.consumer_generation_id
        messages = [event.message for event in events if event.message.generation_id == current]
        if not messages:
            return
        given_up = False
        async with self._at_work():
            try:
                await self._prepare_partitions({message.tp for message in messages}, current)
                started = time.monotonic()
                await self._handler.handle(messages, lambda: self._require_ownership(messages, started))
            except LostOwnership as reason:
                self._log.warning("batch.given_up", reason=str(reason), records=len(messages))
                given_up = True
        if given_up:
            await self._wait_for_another_generation(current)
            return
        for message in messages:
            self._note_gap(message)
            message.ack(self.app.consumer)
        self.progress_at = time.monotonic()

    async def prepare_assigned(self) -> None:
        """Prepare the partitions that no message has come from yet, so that they are ready when one does."""
        inbound = {each for each in self.app.consumer.assignment() if each.topic == topics.INBOUND}
        if self._draining or self.recovering or {each.partition for each in inbound} <= self._prepared:
            return
        async with self._at_work():
            with contextlib.suppress(LostOwnership):  # whoever has them now prepares them
                await self._prepare_partitions(inbound, self.app.consumer_generation_id)

    @property
    def preparing(self) -> bool:
        """Whether the table is being completed from chat.dialog."""
        return self._preparing

    async def _prepare_partitions(self, partitions: set[Any], generation: int) -> None:
        for each in sorted(each for each in partitions if each.partition not in self._prepared):
            if self._prepare is not None:
                self._preparing = True
                try:
                    await self._prepare(each.partition, lambda: self._require_assigned(partitions, generation))
                finally:
                    self._preparing = False
            self._prepared.add(each.partition)

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """The states are this task's for the time of a `with`, and a rebalance waits for its end."""
        async with self._states_lock:
            self._idle.clear()
            try:
                yield
            finally:
                self._idle.set()

    async def _wait_for_another_generation(self, given_up_in: int) -> None:
        """What is behind a batch that was given up must not go before it: it is dropped with its generation.

        Raises OutsideUnavailable where the generation stays: a restart reads the batch again.
        """
        while self.app.consumer_generation_id == given_up_in:
            if not self.app.rebalancing and self._coordinator_generation() == given_up_in:
                raise OutsideUnavailable("a batch was given up for a rebalance that did not happen")
            await asyncio.sleep(POLL_PAUSE_S)

    def _coordinator_generation(self) -> int:
        """The group's generation as aiokafka knows it; it forgets it before Faust hears of a rebalance."""
        return int(self.app.consumer._thread._consumer._coordinator.generation)

    def _require_ownership(self, messages: list[Any], started: float) -> None:
        """Raises LostOwnership where another worker may have the batch, OutsideUnavailable where it took too long."""
        age_s = time.monotonic() - started
        if age_s > self._batch_age_max_s:
            raise OutsideUnavailable(f"a batch took {age_s:.1f} s: this worker may have been taken for dead")
        for generation in {message.generation_id for message in messages}:
            self._require_assigned({message.tp for message in messages}, generation)

    def _require_assigned(self, partitions: set[Any], generation: int) -> None:
        """Raises LostOwnership where the partitions were given to somebody, or may be."""
        app = self.app
        if app.rebalancing or self._coordinator_generation() != app.consumer_generation_id:
            raise LostOwnership("the group rebalances")
        if not partitions <= app.consumer.assignment() or generation != app.consumer_generation_id:
            raise LostOwnership("its partitions are not this worker's any more")

    def _note_gap(self, message: Any) -> None:
        """Say so where the broker dropped records before they were read; the embedded one does under a long lag."""
        expected = self._next.get(message.partition)
        if expected is not None and message.offset > expected:
            self._log.error(
                "records.dropped_by_broker",
                partition=message.partition,
                from_offset=expected,
                to_offset=message.offset - 1,
            )
        self._next[message.partition] = message.offset + 1

    async def _revoked(self, app: Any, revoked: Any, **_: Any) -> None:
        """Let the batch in hand end before the group goes on; forget what another worker may change."""
        try:
            await asyncio.wait_for(self._idle.wait(), self._batch_age_max_s)
        except TimeoutError:
            self._log.warning("batch.unfinished_at_rebalance")
        self.states.forget()
        self._prepared.clear()
        self._next.clear()
        self._ends.clear()
