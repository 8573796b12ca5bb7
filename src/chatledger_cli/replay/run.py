"""One run of a replay: history in its order, folded, paced, handed on, and its position kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import RecordedRow
from chatledger.adapters.postgres import open_pool
from chatledger.errors import ConfigurationError
from chatledger.events.base import UnknownEvent
from chatledger.events.codec import is_known
from chatledger.ports import Selection
from chatledger.replay import States, fold_into, kind_of, state_hash
from chatledger.settings import read_settings
from chatledger_cli.connect import broker_address, database_url
from chatledger_cli.progress_bar import bar, bar_is_shown
from chatledger_cli.replay.outputs import Nowhere, StandardOutput, Target, file_name, output_file
from chatledger_cli.replay.pace import Pace, Schedule
from chatledger_cli.replay.position import Progress, read_progress, require_same, write_progress
from chatledger_cli.replay.seal import Seal, bare_environment, sealed
from chatledger_cli.replay.table import open_table
from chatledger_cli.replay.topic import doors_of, open_topic
from chatledger_cli.selection import Chosen
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.verification import BrokerAddress

EVENTS_PER_HANDOVER = 2_000
"""Some 2 MB; larger batches are not faster."""
SAVE_EVERY_S = 1.0
"""The position file is at most so old; each save waits for the disk."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to replay, and what to do with it. At most one of the `to_` fields is set."""

    chosen: Chosen
    to_topic: str | None = None
    to_file: Path | None = None
    to_table: str | None = None
    to_database: str | None = None
    print_events: bool = False
    resume: Path | None = None
    pace: Pace | None = None
    fold: bool = True
    show_bar: bool = True


class Fold:
    """The states of what was selected, and what the fold passed over."""

    def __init__(self) -> None:
        self._states: States = {}
        self.passed_over: Counter[str] = Counter()

    def add(self, row: RecordedRow) -> None:
        """Fold one row. Only the versioned events of conversations are decoded, as no other changes a state."""
        record = row.record
        if record.version is not None and record.stream.startswith("conversation-"):
            envelope = ledger_event(record, position=row.position, recorded_at=row.recorded_at).envelope
            fold_into(self._states, envelope)
            if isinstance(envelope.data, UnknownEvent):
                self.passed_over[kind_of(envelope)] += 1
        elif not is_known(record.type, version := orjson.loads(record.metadata)["schemaversion"]):
            self.passed_over[f"{record.type}.v{version}"] += 1

    def hash(self) -> str:
        """The hash over all states."""
        return state_hash(self._states)


class Replay:
    """A run, and how far it has come. `clock` counts seconds and never goes back."""

    def __init__(
        self, plan: Plan, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._plan, self._clock, self._sleep = plan, clock, sleep
        self._fold = Fold() if plan.fold else None
        self._saved_at = self._began_at = clock()
        self._first: int | None = None
        self._written = 0
        self.resumed_after: int | None = None
        """The position of an earlier run that this one goes on from."""
        self.progress: Progress | None = None
        """How far it has come; None until the target is open."""

    async def run(self) -> None:
        """Replay to the newest event that there is now. Raises ConfigurationError, OutsideUnavailable."""
        settings = read_settings(UpSettings)
        with bare_environment():
            broker = _broker_for(self._plan, settings)
            # An embedded Postgres is a process that may have to be started, so the seal comes after it.
            async with contextlib.AsyncExitStack() as stack:
                url = await stack.enter_async_context(database_url(settings))
                seal = stack.enter_context(sealed(() if broker is None else doors_of(broker)))
                pool = await open_pool(url, connections_max=2, role=ROLE)
                stack.push_async_callback(pool.close)
                target, kept = await stack.enter_async_context(_target(self._plan, broker, seal))
                await self._replay(PostgresLedgerReader(pool), target, kept)

    async def _replay(self, reader: PostgresLedgerReader, target: Target, kept: Progress | None) -> None:
        chosen = self._plan.chosen if kept is None else kept.chosen
        self.progress = kept or Progress(chosen=chosen, target=target.name, position=chosen.selection.after)
        selection = chosen.selection
        if kept is not None and kept.last_id is not None:
            await _require_same_ledger(reader, kept)
            self.resumed_after = kept.position
            await self._fold_again(reader, kept)
        self._save(target)
        left = replace(selection, after=self.progress.position)
        shown = bar_is_shown(wanted=self._plan.show_bar)
        with bar(await reader.count(left) if shown else 0, shown=shown) as advance:
            try:
                async with (
                    contextlib.aclosing(reader.records(left)) as rows,
                    contextlib.aclosing(self._paced(rows)) as batches,
                ):
                    async for batch in batches:
                        await target.write(batch)
                        self._moved(batch)
                        advance(len(batch))
                        if self._clock() - self._saved_at >= SAVE_EVERY_S:
                            self._save(target)
            finally:
                self._save(target)

    async def _fold_again(self, reader: PostgresLedgerReader, kept: Progress) -> None:
        """Fold what earlier runs handed on: the hash is over all of the selection."""
        if self._fold is None:
            return
        before = replace(kept.chosen.selection, until_position=kept.position)
        shown = bar_is_shown(wanted=self._plan.show_bar)
        with bar(kept.events, shown=shown, doing="folding what came before") as advance:
            async for row in reader.records(before):
                self._fold.add(row)
                advance(1)

    async def _paced(self, rows: AsyncIterator[RecordedRow]) -> AsyncGenerator[list[RecordedRow], None]:
        """Yield what is due, in batches, each when it is."""
        schedule = None if self._plan.pace is None else Schedule(self._plan.pace)
        began_at: float | None = None
        due: list[RecordedRow] = []
        async for row in rows:
            if schedule is not None:
                began_at = self._clock() if began_at is None else began_at
                due_at = began_at + schedule.due_s(row.recorded_at)
                if due and due_at > self._clock():
                    yield due
                    due = []
                if (wait_s := due_at - self._clock()) > 0:
                    await self._sleep(wait_s)
            if self._fold is not None:
                self._fold.add(row)
            due.append(row)
            if len(due) == EVENTS_PER_HANDOVER:
                yield due
                due = []
        if due:
            yield due

    def _moved(self, rows: list[RecordedRow]) -> None:
        assert self.progress is not None
        last, self._written = rows[-1], self._written + len(rows)
        self._first = rows[0].position if self._first is None else self._first
        events = self.progress.events + len(rows)
        self.progress = replace(self.progress, position=last.position, last_id=last.record.id, events=events)

    def _save(self, target: Target) -> None:
        if self._plan.resume is not None and self.progress is not None:
            self.progress = replace(self.progress, bytes=target.settle())
            write_progress(self._plan.resume, self.progress)
            self._saved_at = self._clock()

    def summary(self) -> dict[str, Any]:
        """What the run did. `events` and the hash are of all runs together, the positions and `written` of this one."""
        assert self.progress is not None
        return {
            "events": self.progress.events,
            "seconds": round(self._clock() - self._began_at, 3),
            "state_hash": None if self._fold is None else self._fold.hash(),
            "target": self.progress.target,
            "written": self._written,
            "from_position": self._first,
            "to_position": self.progress.position if self.progress.events else None,
            "resumed_after": self.resumed_after,
            "passed_over": dict(self._fold.passed_over) if self._fold else {},
        }


@contextlib.asynccontextmanager
async def _target(
    plan: Plan, broker: BrokerAddress | None, seal: Seal
) -> AsyncIterator[tuple[Target, Progress | None]]:
    """Where the events go, and how far an earlier run came there."""
    kept = None if plan.resume is None else read_progress(plan.resume)

    def checked(name: str) -> Progress | None:
        if kept is not None:
            require_same(kept, plan.chosen, name, f"the position file {plan.resume}")
        return kept

    if plan.to_file is not None:
        progress = checked(file_name(plan.to_file))
        with output_file(plan.to_file, progress) as file:
            yield file, progress
    elif plan.to_topic is not None and broker is not None:
        async with open_topic(broker, plan.to_topic, seal) as topic:
            yield topic, checked(topic.name)
    elif plan.to_table is not None and plan.to_database is not None:
        async with open_table(plan.to_database, plan.to_table, plan.chosen) as table:
            yield table, table.progress
    else:
        target = StandardOutput() if plan.print_events else Nowhere()
        yield target, checked(target.name)


def _broker_for(plan: Plan, settings: UpSettings) -> BrokerAddress | None:
    """The broker, where one was told to be used: otherwise there is no door to it."""
    if plan.to_topic is None:
        return None
    broker = broker_address(settings)
    if broker is None:
        raise ConfigurationError("--to-topic needs a broker: set CHATLEDGER_BROKER, or start `chatledger up`")
    return broker


async def _require_same_ledger(reader: PostgresLedgerReader, kept: Progress) -> None:
    only = Selection(after=kept.position - 1, until_position=kept.position)
    if [row.record.id async for row in reader.records(only)] != [kept.last_id]:
        raise ConfigurationError(
            f"{kept.target} was filled from another ledger: this one has another event at position {kept.position};"
            " name the ledger of then with CHATLEDGER_DATABASE, or begin anew under another name"
        )
