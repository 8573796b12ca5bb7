"""A new broker made fit to go on with: topics and changelog from the ledger, every service's position, the outboxes.

Each service answers for what is its own; only here they come together. What is done in Postgres is one transaction at
the end, so that a restore that was cut off has moved nobody's position; what is on the broker by then is told by the
topics' ends, and gone on with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from chatledger.adapters.broker_loss import ServiceAtLoss
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.kafka import KafkaPublisher, start_producer, stop_producer
from chatledger.adapters.kafka_batches import BatchPublisher
from chatledger.adapters.ledger_reader import ROLE as READER
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import Connection, open_pool
from chatledger.adapters.table_versions import read_live_table
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.ports import Positions, Selection, TopicPartition
from chatledger.projects import Project
from chatledger_billing.broker_loss import at_loss as billing_at_loss
from chatledger_crm.broker_loss import AT_LOSS as CRM
from chatledger_ledger import restore_plan
from chatledger_ledger.broker_history import LedgerHistory
from chatledger_ledger.losses import find_losses, record_losses
from chatledger_ledger.postgres_ledger import ROLE as RECORDER
from chatledger_ledger.postgres_ledger import PostgresLedger
from chatledger_ledger.rebuild import rebuild_dialog
from chatledger_ledger.refill import RECORDS_PER_PUBLISH, Advance, Refilled, refill
from chatledger_ledger.restore_broker import commit_for_dialog, read_records, standings
from chatledger_ledger.restore_plan import DIALOG, EVERYWHERE, RestorePlan, StartedRestore, Wanted
from chatledger_notify.broker_loss import AT_LOSS as NOTIFY
from chatledger_outreach.broker_loss import AT_LOSS as OUTREACH

PUBLISH_TIMEOUT_S = 60.0
DRAINED_WITHIN_S = 20.0
"""Services whose supervisor was killed end by themselves within this time."""
LOOK_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The new broker, its incarnation, the database that outlived the old one, and the projects."""

    broker: str
    incarnation: str
    database: str
    projects: Mapping[str, Project]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who follows a restore: is told of each part before it begins, with its rows, and of rows that are done."""

    begin: Callable[[str, int], object] = lambda name, rows: None
    advance: Advance = lambda rows: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore came to. `again` is what services publish a second time, `lost` what nobody has any more.

    `elsewhere` counts events that are not in the partition that their key's hash says; `left_out` those of no topic.
    """

    refilled: Refilled = field(default_factory=Refilled)
    conversations: int = 0
    positions: int = 0
    again: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    seconds: float = 0.0


async def restore(
    place: Place,
    wanted: Wanted,
    *,
    watch: Watch | None = None,
    dry_run: bool = False,
    all_history: bool = True,
    must_be_alone: bool = True,
    ends: Positions | None = None,
) -> Restored:
    """Do it, or with `dry_run` say what would be done. One that was cut off is gone on with, with its own bounds.

    `ends` are those of partitions that hold something already: it is put behind history, and read there. Raises
    ConfigurationError while it must not be done, BrokerUnavailable and OutsideUnavailable, after which it can be gone
    on with.
    """
    started_at = time.monotonic()
    async with AsyncExitStack() as opened:
        try:
            connection = await psycopg.AsyncConnection.connect(place.database, autocommit=True)
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
        await opened.enter_async_context(connection)
        work = _Restore(place, connection, await _present(place, connection), watch or Watch(), dry_run=dry_run)
        await work.wait_until_alone(must_be_alone=must_be_alone)
        plan, started = await work.plan(wanted, ends)
        await work.open(opened)
        refilled = await work.refill(plan, started)
        conversations = await work.rebuild_table()
        positions, again, lost = await work.finish(plan, refilled, all_history=all_history)
        return Restored(
            refilled=refilled,
            conversations=conversations,
            positions=positions,
            again=again,
            lost=lost,
            seconds=time.monotonic() - started_at,
        )


class _Restore:
    """The steps, in their order, over one connection that holds the locks of all services."""

    def __init__(
        self,
        place: Place,
        connection: Connection,
        services: Sequence[ServiceAtLoss],
        watch: Watch,
        *,
        dry_run: bool,
    ) -> None:
        self._place, self._connection, self._services = place, connection, services
        self._watch, self._dry_run = watch, dry_run

    async def open(self, opened: AsyncExitStack) -> None:
        """Open what reads the ledger and what writes to the broker."""
        pool = await open_pool(self._place.database, connections_max=2, role=READER)
        opened.push_async_callback(pool.close)
        recorder = await open_pool(self._place.database, connections_max=1, role=RECORDER)
        opened.push_async_callback(recorder.close)
        producer = await start_producer(self._place.broker, linger_ms=5)
        opened.push_async_callback(stop_producer, producer)
        self._reader = PostgresLedgerReader(pool)
        self._ledger = PostgresLedger(recorder, incarnation=self._place.incarnation, clock=SystemClock())
        self._batches = BatchPublisher(producer, timeout_s=PUBLISH_TIMEOUT_S)
        self._records = KafkaPublisher(producer, timeout_s=PUBLISH_TIMEOUT_S)

    async def wait_until_alone(self, *, must_be_alone: bool) -> None:
        """Wait for services that are ending. Raises ConfigurationError where they do not."""
        deadline = time.monotonic() + DRAINED_WITHIN_S
        running = list(self._services)
        while running := [each for each in running if not await each.is_alone(self._connection)]:
            if time.monotonic() > deadline:
                if not must_be_alone:
                    return
                names = ", ".join(each.name for each in running)
                raise ConfigurationError(f"still running on this database: {names}; stop every service, then restore")
            await asyncio.sleep(LOOK_PAUSE_S)

    async def plan(self, wanted: Wanted, ends: Positions | None) -> tuple[RestorePlan, StartedRestore | None]:
        """Say what is to be done, and note it before it is begun."""
        started = await restore_plan.find_started(self._connection, self._place.incarnation)
        services = {each.name: (each.topics, await each.read_lives(self._connection)) for each in self._services}
        plan = await restore_plan.make_plan(
            self._connection,
            services,
            incarnation=self._place.incarnation,
            wanted=wanted,
            started=started,
            ends=ends,
        )
        if started is None and not self._dry_run:
            async with self._connection.transaction():
                await restore_plan.start(self._connection, plan)
        return plan, started

    async def refill(self, plan: RestorePlan, started: StartedRestore | None) -> Refilled:
        """Put the events on their topics, but for those that are there."""
        first = min(plan.after.values())
        rows = await self._reader.count(Selection(after=first, until_position=plan.until)) if first < plan.until else 0
        self._watch.begin("events", rows)
        is_refilled = started is not None and started.is_refilled
        there = {} if self._dry_run or is_refilled else await standings(self._place.broker, EVERYWHERE)
        publisher = None if self._dry_run or is_refilled else self._batches
        refilled = await refill(self._reader, publisher, plan, there, advance=self._watch.advance)
        if not self._dry_run:
            await restore_plan.note(self._connection, plan.incarnation, finished=False)
        return refilled

    async def rebuild_table(self) -> int:
        """Write the dialog's changelog; return how many conversations it has."""
        self._watch.begin("conversations", 0)
        if self._dry_run:
            return len(await self._reader.conversations())
        live = await read_live_table(self._place.broker)
        return await rebuild_dialog(self._reader, self._records.publish_raw, topic=live.changelog)

    async def finish(
        self, plan: RestorePlan, refilled: Refilled, *, all_history: bool
    ) -> tuple[int, dict[str, int], int]:
        """Set every position, mend every outbox; return how many positions, what is published again, what is lost."""
        self._watch.begin("positions", 0)
        offsets = refilled.offsets
        if not self._dry_run:
            await commit_for_dialog(self._place.broker, offsets[DIALOG])
        async with self._connection.transaction(force_rollback=self._dry_run):
            history = LedgerHistory(self._connection)
            mended = {each.name: await each.mend(self._connection, history) for each in self._services}
            losses = await find_losses(self._connection, plan, mended, all_history=all_history)
            if not self._dry_run:
                ends = await _ends_of(self._place.broker, refilled)
                await record_losses(losses, self._batches, self._ledger, ends=ends, now=datetime.now(UTC))
                await self._put_behind(plan)
            for each in self._services:
                if each.name in offsets:
                    await each.begin_life(self._connection, plan.incarnation, offsets[each.name])
            await restore_plan.begin_ledger(self._connection, plan.incarnation, refilled.ends)
            await restore_plan.note(self._connection, plan.incarnation, finished=True)
        again = {name: part.again for name, part in mended.items() if part.again}
        return sum(len(each) for each in offsets.values()), again, len(losses)

    async def _put_behind(self, plan: RestorePlan) -> None:
        """Repeat what was there before history: all services begin behind it. After a cut it may come once more."""
        if not any(plan.first_offsets.values()):
            return
        there = await read_records(self._place.broker, plan.first_offsets)
        for start in range(0, len(there), RECORDS_PER_PUBLISH):
            await self._batches.publish(there[start : start + RECORDS_PER_PUBLISH])


async def _present(place: Place, connection: Connection) -> list[ServiceAtLoss]:
    services: list[ServiceAtLoss] = [billing_at_loss(place.database, place.projects), NOTIFY, OUTREACH, CRM]
    return [each for each in services if await each.is_there(connection)]


async def _ends_of(broker: str, refilled: Refilled) -> dict[TopicPartition, int]:
    """The partitions' ends: what was put back, and, after a restore that was cut off, what it wrote of losses."""
    return {at: standing.end for at, standing in (await standings(broker, refilled.ends)).items()}
