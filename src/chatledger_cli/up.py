"""`chatledger up`: everything, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from chatledger.project_files import load_projects
from chatledger.settings import read_settings
from chatledger_cli.log_lines import readable
from chatledger_cli.supervisor import Say
from chatledger_cli.system import StoppedWhileStarting, System, running
from chatledger_cli.up_settings import UpSettings

NAME_WIDTH = 9


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    json_logs: Annotated[
        bool, typer.Option("--json", help="Write the logs as they are: one JSON object a line.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="The HTTP port; by default PORT, or 8000. 0: a free one.")] = None,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Send replies to a stand-in of the provider, which shows them here.")
    ] = False,
) -> None:
    """Run every service behind one HTTP port, start again what dies, and drain everything on Ctrl-C or SIGTERM.

    Where CHATLEDGER_BROKER or CHATLEDGER_DATABASE is not set, an embedded one is started, with its data in
    CHATLEDGER_DATA_DIR (./var).

    Example: chatledger up --stand-in

    Example: CHAT2DESK_WEBHOOK_TOKEN=secret CHAT2DESK_API_TOKEN=key chatledger up

    Example: CHATLEDGER_BROKER=localhost:9092 CHATLEDGER_DATABASE=postgresql://me@localhost/chatledger chatledger up
    """
    settings = read_settings(UpSettings)
    if port is not None:
        settings = settings.model_copy(update={"port": port})
    asyncio.run(_up(settings, json_logs=json_logs, stand_in=stand_in))


async def _up(settings: UpSettings, *, json_logs: bool, stand_in: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def say(line: str) -> None:
        at = datetime.now(UTC).isoformat()
        ours = orjson.dumps({"service": "up", "event": line, "timestamp": at}).decode() if json_logs else line
        typer.echo(ours if json_logs else f"{'up':{NAME_WIDTH}}| {line}", err=True)

    def log(name: str, line: str) -> None:
        typer.echo(line if json_logs else f"{name:{NAME_WIDTH}}| {readable(line)}", err=True)

    try:
        async with (
            _outside(settings, say, stand_in=stand_in) as its_place,
            running(
                settings, {**os.environ, **its_place}, say=say, log=log, stop=stop, providers_are_here=stand_in
            ) as system,
        ):
            typer.echo(_ready_line(system))
            await _until_stopped(system, stop)
            say(f"stopping: {', '.join(system.supervisor.names)}")
    except StoppedWhileStarting:
        say("stopped before it was healthy")
    else:
        say("stopped; everything was drained")


@contextlib.asynccontextmanager
async def _outside(settings: UpSettings, say: Say, *, stand_in: bool) -> AsyncIterator[dict[str, str]]:
    """The environment that leads every service to a stand-in, while it runs; nothing where none is wanted."""
    if not stand_in:
        yield {}
        return
    # Imported here: without a stand-in its HTTP servers and clients are not loaded.
    from chatledger_cli.stand_ins import stand_ins

    async with stand_ins(load_projects(settings.projects), say) as environment:
        yield environment


async def _until_stopped(system: System, stop: asyncio.Event) -> None:
    """Return when it is to stop. Raises ConfigurationError or ChildrenFailed when a service was given up."""
    failed, stopped = asyncio.create_task(system.supervisor.failed()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([failed, stopped], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
    finally:
        failed.cancel()
        stopped.cancel()


def _ready_line(system: System) -> str:
    backends = system.backends
    broker = f"broker {'embedded at ' if backends.broker_is_embedded else ''}{backends.broker}"
    database = "database embedded" if backends.database_is_embedded else "database by CHATLEDGER_DATABASE"
    return (
        f"chatledger is up at {system.url} ({broker}, {database})."
        ' Next: chatledger send "hello" --follow; chatledger tail; chatledger verify. Ctrl-C stops it.'
    )
