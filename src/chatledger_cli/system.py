"""The whole of chatledger, running: broker, database and services, from start to drained.

`chatledger up` holds one until it is told to stop; `chatledger demo` and the tests hold one around what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chatledger.errors import ChatledgerError, OutsideUnavailable
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_cli.backends import Backends, make_topics, migrate_all, open_backends
from chatledger_cli.lags import Lags
from chatledger_cli.new_broker import meet_broker
from chatledger_cli.restoring import Place
from chatledger_cli.running import UpState, only_one, remove_state, write_state
from chatledger_cli.services import services_of
from chatledger_cli.supervisor import ChildPlan, Log, Say, Supervisor
from chatledger_cli.unset import what_is_unset
from chatledger_cli.up_settings import UpSettings
from chatledger_ingress.server import listen

HEALTHY_TIMEOUT_S = 60.0
"""From the first child's start to a healthy system: a few seconds, more on a busy machine."""
SETTLE_TIMEOUT_S = 5.0
"""How long a stop waits for an embedded broker's records to be read: with the broker, they end."""
STOP_TIMEOUT_S = 15.0
"""How long one service may take to drain; longer than its own bound."""
POLL_PAUSE_S = 0.05


class StoppedWhileStarting(ChatledgerError):
    """It was told to stop before it was healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A healthy system: where it is, and its children."""

    url: str
    port: int
    backends: Backends
    supervisor: Supervisor
    lags: Lags


@contextlib.asynccontextmanager
async def running(
    settings: UpSettings,
    environment: Mapping[str, str],
    *,
    say: Say,
    log: Log,
    stop: asyncio.Event | None = None,
    providers_are_here: bool = False,
) -> AsyncIterator[System]:
    """Start everything, and yield it when it is healthy; drain and stop at the end, in the order of the line.

    `environment` goes to every service; `say` gets our own lines, `log` those of the services, with their names.
    Where `providers_are_here`, on this machine, they know us by our own address, unless the environment has another.
    Before it yields it raises ConfigurationError, OutsideUnavailable, ChildrenFailed, or StoppedWhileStarting when
    `stop` is set.
    """
    projects = load_projects(settings.projects)
    services = services_of(projects)
    for sentence in what_is_unset(projects, environment, host=settings.host):
        say(sentence)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(only_one(settings.data_dir))
        listener = stack.enter_context(listen(settings.host, settings.port))
        port: int = listener.getsockname()[1]
        say(f"starting: {_backends_to_be(settings)}; this takes a few seconds")
        backends = await stack.enter_async_context(open_backends(settings))
        await _prepare(backends, projects, services, say)
        lags = await stack.enter_async_context(
            Lags.open(
                broker=backends.broker,
                incarnation=backends.incarnation,
                database=backends.database,
                services=services,
            )
        )
        url = _url(settings.host, port)
        if providers_are_here:
            environment = {"PUBLIC_BASE_URL": url, **environment}
        supervisor = Supervisor(_plans(settings, services, environment, backends, listener), say=say, log=log)
        system = System(url=url, port=port, backends=backends, supervisor=supervisor, lags=lags)
        try:
            await supervisor.start()
            await _until_healthy(system, stop or asyncio.Event())
            state = UpState(
                broker=backends.broker,
                incarnation=backends.incarnation,
                database=backends.database,
                pid=os.getpid(),
                port=port,
            )
            write_state(settings.data_dir, state)
            yield system
        finally:
            remove_state(settings.data_dir)
            listener.close()  # from now on nobody new gets through, while the web process drains
            await _drain(system, say)


def _backends_to_be(settings: UpSettings) -> str:
    """Where broker and database will be; of the embedded broker also what it cannot promise."""
    broker = f"broker {settings.broker}" if settings.broker else "the embedded broker (in memory: for trying out)"
    database = "Postgres by URL" if settings.database_url else f"embedded Postgres in {settings.data_dir}/postgres"
    return f"{broker}, {database}"


async def _prepare(backends: Backends, projects: Mapping[str, Project], services: Sequence[str], say: Say) -> None:
    """Topics, tables, and what services need of history where this broker has never seen it."""
    if not backends.broker_is_embedded:
        made = await make_topics(backends.broker)
        if made:
            say(f"created the topics {', '.join(made)}")
    await migrate_all(backends.database, services)
    place = Place(
        broker=backends.broker, incarnation=backends.incarnation, database=backends.database, projects=projects
    )
    await meet_broker(place, backends, say)


def _plans(
    settings: UpSettings,
    services: Sequence[str],
    environment: Mapping[str, str],
    backends: Backends,
    listener: socket.socket,
) -> list[ChildPlan]:
    """The children, in the order in which they are drained."""
    shared = {
        **environment,
        "CHATLEDGER_BROKER": backends.broker,
        "CHATLEDGER_DATABASE": backends.database,
        "CHATLEDGER_PROJECTS": str(settings.projects.resolve()),
        "CHATLEDGER_DATA_DIR": str(settings.data_dir.resolve()),
        "CHATLEDGER_HOST": settings.host,
        "PROMETHEUS_MULTIPROC_DIR": str(_fresh_folder(settings.data_dir.resolve() / "metrics")),
        "PYTHONUNBUFFERED": "1",
    }
    if backends.broker_is_embedded:
        # A real broker tells its own, also after it was replaced under a running system.
        shared["CHATLEDGER_INCARNATION"] = backends.incarnation

    def plan(name: str, *module: str, descriptors: tuple[int, ...] = (), **more: str) -> ChildPlan:
        return ChildPlan(
            name=name,
            command=(sys.executable, "-m", "chatledger_cli.child", *module),
            environment=shared | more,
            descriptors=descriptors,
            stop_timeout_s=STOP_TIMEOUT_S,
        )

    descriptor = listener.fileno()
    plans = [plan("web", "chatledger_cli.web", str(descriptor), descriptors=(descriptor,))]
    for service in services:
        if service == "dialog":
            plans += [plan(name, "chatledger_dialog", CHATLEDGER_INSTANCE_ID=name) for name in settings.dialog_names]
        else:
            plans.append(plan(service, f"chatledger_{service}"))
    return plans


async def _until_healthy(system: System, stop: asyncio.Event) -> None:
    failed = asyncio.create_task(system.supervisor.failed())
    stopped = asyncio.create_task(stop.wait())
    healthy = asyncio.create_task(_ask_for_health(system.url))
    tasks: tuple[asyncio.Task[Any], ...] = (failed, stopped, healthy)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            raise StoppedWhileStarting
        for task in (failed, healthy):
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _ask_for_health(url: str) -> None:
    deadline = time.monotonic() + HEALTHY_TIMEOUT_S
    said = "nothing answers"
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            try:
                answer = await client.get(f"{url}/health")
                if answer.status_code == 200:
                    return
                said = answer.text
            except httpx.HTTPError as wrong:
                said = str(wrong) or said
            await asyncio.sleep(POLL_PAUSE_S)
    raise OutsideUnavailable(f"not healthy after {HEALTHY_TIMEOUT_S:g} s: {said}")


async def _drain(system: System, say: Say) -> None:
    """Stop the children from the front of the line to its end; what an embedded broker holds is read first."""
    for name in system.supervisor.names:
        if system.backends.broker_is_embedded and name == "ledger":
            await _settle(system, say, only="ledger")
        if not await system.supervisor.stop(name):
            say(f"{name} was not drained")
        if system.backends.broker_is_embedded and name == "web":
            await _settle(system, say, only=None)


async def _settle(system: System, say: Say, *, only: str | None) -> None:
    """Wait, for a bounded time, until everything was read; say what is lost when the ledger has not."""
    try:
        left = await system.lags.settle(timeout_s=SETTLE_TIMEOUT_S, only=only)
    except ChatledgerError as wrong:
        say(f"cannot tell what was not recorded: {wrong}")
        return
    if left and only:
        say(f"{left} records of the embedded broker were not recorded; they end with it")


def _fresh_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
