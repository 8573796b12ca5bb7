"""`chatledger replay`: history in its order, folded, printed or published, with a hash at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from chatledger import topics
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.errors import ConfigurationError
from chatledger.events.codec import Headers, to_wire
from chatledger.ports import LedgerEvent, Selection
from chatledger.replay import States, event_line, fold_into, state_hash
from chatledger.settings import read_settings
from chatledger_cli.connect import broker_address, ledger_pool
from chatledger_cli.moments import AT, moment_of
from chatledger_cli.up_settings import UpSettings

EVENTS_PER_HANDOVER = 1_000
LIVE_TOPICS = frozenset(plan.name for plan in topics.PLANS)
"""What is published there is acted on: clients would be written to again."""

HandOver = Callable[[Sequence[LedgerEvent]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to replay, and what to do with it."""

    until_time: datetime | None = None
    until_position: int | None = None
    to_topic: str | None = None
    print_events: bool = True
    print_summary: bool = False


class _RateColumn(ProgressColumn):
    """Events a second, once that is known."""

    def render(self, task: Task) -> Text:
        """Return the rate of the last moments."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("replay")(replay)


def replay(
    at: Annotated[str | None, AT] = None,
    until_position: Annotated[int | None, typer.Option(min=0, help="End with this position of the ledger.")] = None,
    to_topic: Annotated[
        str | None, typer.Option(help="Publish the events to this topic, not to standard output.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="With --json: print the events as well.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON: events, seconds, state_hash.")
    ] = False,
) -> None:
    """Fold history again, in its order, and hand the events on: as NDJSON on standard output, or to a topic.

    Example: chatledger replay --json
    """
    plan = Plan(
        until_time=moment_of(at, until_position),
        until_position=until_position,
        to_topic=to_topic,
        print_events=to_topic is None and (events or not as_json),
        print_summary=as_json,
    )
    try:
        asyncio.run(run(plan))
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def run(plan: Plan) -> None:
    """Replay as planned. Raises ConfigurationError, OutsideUnavailable."""
    if plan.to_topic in LIVE_TOPICS:
        raise ConfigurationError(
            f"{plan.to_topic} is a live topic: the services would act on its events again; name another topic"
        )
    settings = read_settings(UpSettings)
    async with ledger_pool(settings) as pool, _way_out(plan, settings) as hand_over:
        reader = PostgresLedgerReader(pool)
        selection = Selection(until_position=plan.until_position, until_time=plan.until_time)
        total = await reader.count(selection)
        started, events = time.monotonic(), 0
        states: States = {}
        waiting: list[LedgerEvent] = []
        with _progress(total, shown=not plan.print_summary) as advance:
            async for event in reader.read(selection):
                fold_into(states, event.envelope)
                waiting.append(event)
                if len(waiting) == EVENTS_PER_HANDOVER:
                    await hand_over(waiting)
                    events += advance(len(waiting))
                    waiting.clear()
            await hand_over(waiting)
            events += advance(len(waiting))
        _summary(plan, events, time.monotonic() - started, state_hash(states))


def _summary(plan: Plan, events: int, seconds: float, hash: str) -> None:
    if plan.print_summary:
        _write(orjson.dumps({"events": events, "seconds": round(seconds, 3), "state_hash": hash}) + b"\n")
        return
    rate = f"{events / seconds:,.0f} a second" if seconds > 0 else "at once"
    Console(stderr=True).print(
        f"{events:,} events in {seconds:.1f} s ({rate}), state hash {hash}", highlight=False, soft_wrap=True
    )


@contextlib.asynccontextmanager
async def _way_out(plan: Plan, settings: UpSettings) -> AsyncIterator[HandOver]:
    """Where the events go: to standard output, to a topic, or nowhere."""
    if plan.to_topic is None:
        yield _print_events if plan.print_events else _drop
        return
    broker = broker_address(settings)
    if broker is None:
        raise ConfigurationError("--to-topic needs a broker: set CHATLEDGER_BROKER, or start `chatledger up`")
    producer = await start_producer(broker.bootstrap_servers, linger_ms=5)
    try:
        publisher, topic = KafkaPublisher(producer, timeout_s=60.0), plan.to_topic

        async def publish(events: Sequence[LedgerEvent]) -> None:
            wired = [to_wire(event.envelope) for event in events]
            records: list[tuple[bytes, bytes | None, Headers]] = [
                (each.key, each.value, each.headers) for each in wired
            ]
            await publisher.publish_raw(topic, records)

        yield publish
    finally:
        await producer.stop()


async def _print_events(events: Sequence[LedgerEvent]) -> None:
    _write(b"".join(event_line(event) + b"\n" for event in events))


async def _drop(events: Sequence[LedgerEvent]) -> None:
    """The fold is all that was asked for."""


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[int], int]]:
    """A bar on standard error, where that is a terminal: events, rate, time left. What it is told it returns."""
    console = Console(stderr=True)
    columns = (
        TextColumn("replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        bar = progress.add_task("replaying", total=total)

        def advance(events: int) -> int:
            progress.advance(bar, events)
            return events

        yield advance
