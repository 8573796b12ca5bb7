"""The dialog worker's composition root: builds its parts, starts them, watches over them, and takes them down.

`run` returns after a drain and raises whatever ended the worker otherwise; nothing of the batch in hand is acknowledged
then. The process has to end after it, by `os._exit`: a thread of Faust may hang.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

from chatledger import metrics, topics
from chatledger.adapters.kafka import cluster_id, start_producer
from chatledger.adapters.kafka_batches import BatchPublisher
from chatledger.adapters.table_versions import TableVersions
from chatledger.errors import OutsideUnavailable
from chatledger.inventory import LiveProjects
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_dialog.catch_up import CatchUp
from chatledger_dialog.edge import DialogEdge, new_faust_app
from chatledger_dialog.handlers import BatchHandler
from chatledger_dialog.inventory import InventoryReader
from chatledger_dialog.lean_transport import require_tested_faust
from chatledger_dialog.settings import SERVICE, DialogSettings
from chatledger_dialog.watchdog import Watchdog

STUCK_AFTER_S = 60.0
"""A worker with lag and no progress for so long is taken for stuck, as is one whose event loop stands still."""
RECOVERY_MAX_S = 300.0
"""Reading some millions of states takes that long; a rebalance that does is stuck."""
WATCH_EVERY_S = 1.0
ASK_ENDS_EVERY_S = 10.0
"""How often the broker is asked how far chat.inbound goes: what a stuck reader fetched last tells no lag."""
DRAIN_TIMEOUT_S = 5.0
"""A batch may take half the session timeout; one that takes longer is read again by whoever comes next."""
STOP_TIMEOUT_S = 3.0


async def run(settings: DialogSettings, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then drain.

    Raises ConfigurationError, BrokerUnavailable, OutsideUnavailable, or what went wrong in a batch.
    """
    require_tested_faust()
    _collect_garbage_seldom()
    projects = load_projects(settings.projects)
    producer = await start_producer(settings.broker)
    try:
        publisher = BatchPublisher(producer)
        # Where no project has a CRM nothing is started for it.
        live = LiveProjects(projects) if any(project.crm for project in projects.values()) else None
        names = [topics.INBOUND, topics.DIALOG, topics.DEAD, topics.TABLE_VERSIONS]
        await publisher.require_topics([*names, topics.INVENTORY] if live else names, partitions=topics.PARTITIONS)
        incarnation = settings.incarnation or await cluster_id(settings.broker)
        versions = TableVersions(settings.broker)
        try:
            table = await versions.open()
            await publisher.require_topics([table.changelog], partitions=topics.PARTITIONS)
            edge, catch_up = build(
                settings, projects, publisher=publisher, incarnation=incarnation, live=live, versions=versions
            )
            following = asyncio.ensure_future(catch_up.follow())
            try:
                if live is None:
                    await _work(edge, stop, following)
                else:
                    await _work_with_inventory(edge, InventoryReader(settings.broker, live), stop, following)
            finally:
                following.cancel()
        finally:
            await _stop_within(versions, STOP_TIMEOUT_S)
    finally:
        await _stop_within(producer, STOP_TIMEOUT_S)


def build(
    settings: DialogSettings,
    projects: Mapping[str, Project],
    *,
    publisher: BatchPublisher,
    incarnation: str,
    versions: TableVersions,
    live: LiveProjects | None = None,
) -> tuple[DialogEdge, CatchUp]:
    """Put the worker together, not yet started, on the table that is live. Inside a running loop."""
    data_dir = Path(settings.data_dir) / "faust"
    data_dir.mkdir(parents=True, exist_ok=True)
    edge = DialogEdge(
        new_faust_app(settings, data_dir=data_dir),
        session_timeout_s=settings.session_timeout_s,
        batch_records_max=settings.batch_records_max,
        table_version=versions.live.version,
    )
    handler = BatchHandler(
        publisher=publisher,
        states=edge.states,
        projects=projects,
        incarnation=incarnation,
        live=live,
        changelog=versions.live.changelog,
    )
    catch_up = CatchUp(settings.broker, versions, handler)
    edge.use(handler, catch_up.prepare)
    return edge, catch_up


async def _work_with_inventory(
    edge: DialogEdge, reader: InventoryReader, stop: asyncio.Event, *beside: asyncio.Future[None]
) -> None:
    """The same, with stock and prices that are read before the first message, and followed beside all of them."""
    try:
        await reader.open()
        following = asyncio.ensure_future(reader.follow())
        try:
            await _work(edge, stop, following, *beside)
        finally:
            following.cancel()
    finally:
        await _stop_within(reader, STOP_TIMEOUT_S)


async def _work(edge: DialogEdge, stop: asyncio.Event, *beside: asyncio.Future[None]) -> None:
    """Start Faust, wait for the first reason to end, and end. What runs `beside` it only ends by an error."""
    app, log = edge.app, structlog.get_logger()
    started_at = time.monotonic()
    app.in_worker = True
    starting = asyncio.ensure_future(app.start())
    stopping = asyncio.ensure_future(stop.wait())
    crashed = asyncio.ensure_future(app._crashed.wait())
    ends: set[asyncio.Future[Any]] = {stopping, crashed, edge.failed, *beside}
    watching = None
    try:
        await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.exception():
            log.info("dialog.ready", seconds=round(time.monotonic() - started_at, 2), conversations=len(edge.states))
            watching = asyncio.ensure_future(_watch(edge))
            await asyncio.wait({watching, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for ended in (starting, edge.failed, watching, *beside):
            if ended is not None and ended.done():
                ended.result()
        if crashed.done():
            raise OutsideUnavailable(f"Faust gave up: {app.crash_reason!r}") from app.crash_reason
        if starting.done():
            await asyncio.wait_for(edge.drain(), DRAIN_TIMEOUT_S)
            log.info("dialog.drained")
    finally:
        for task in (starting, stopping, crashed, watching):
            if task is not None:
                task.cancel()
        await _stop_within(app, STOP_TIMEOUT_S)


async def _watch(edge: DialogEdge) -> None:
    """Tell the lag, and raise OutsideUnavailable where the worker is behind but makes no progress."""
    moving_at = settled_at = asked_at = time.monotonic()
    preparing = asyncio.ensure_future(edge.prepare_assigned())
    with Watchdog(STUCK_AFTER_S) as watchdog:
        while True:
            watchdog.alive()
            if preparing.done():
                preparing.result()
                preparing = asyncio.ensure_future(edge.prepare_assigned())
            if time.monotonic() - asked_at > ASK_ENDS_EVERY_S:
                asked_at = time.monotonic()
                await edge.ask_ends()
            lags, now = edge.lag(), time.monotonic()
            for partition, behind in lags.items():
                metrics.LAG.labels(service=SERVICE, topic=topics.INBOUND, partition=str(partition)).set(behind)
            if edge.recovering:
                moving_at = now
            else:
                settled_at = now
            if not any(lags.values()) or edge.preparing:
                moving_at = now
            moving_at = max(moving_at, edge.progress_at)
            if now - moving_at > STUCK_AFTER_S:
                raise OutsideUnavailable(
                    f"no progress for {STUCK_AFTER_S:.0f} s with a lag of {sum(lags.values())} records"
                )
            if now - settled_at > RECOVERY_MAX_S:
                raise OutsideUnavailable(f"a rebalance or recovery has not ended in {RECOVERY_MAX_S:.0f} s")
            await asyncio.sleep(WATCH_EVERY_S)


def _collect_garbage_seldom() -> None:
    """What is made here is freed by its last reference; looking for cycles among all states costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


async def _stop_within(what: _Stoppable, timeout_s: float) -> None:
    """Stop something; that it does not stop in order is told, and changes nothing."""
    try:
        await asyncio.wait_for(what.stop(), timeout_s)
    except Exception as error:  # of whatever kind: why the worker ends is said elsewhere
        structlog.get_logger().warning("process.not_stopped_in_order", what=type(what).__name__, error=repr(error))
