"""Runs an application under uvicorn until it is told to stop, then finishes what is in flight."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from chatledger.errors import ConfigurationError

KEEP_ALIVE_S = 75
"""Providers keep their connections; one that is opened for every webhook costs more than the webhook."""

BACKLOG = 2048
"""Connections that wait while the process starts, or is busy."""


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which ends the process by the signal instead of with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; who connects from now on is answered once `serve` runs.

    Raises ConfigurationError when the address is taken or not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as wrong:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {wrong}; set HOST or PORT") from wrong
    return listener


async def serve(app: ASGIApp, listener: socket.socket, stop: asyncio.Event, *, drain_timeout_s: int) -> None:
    """Answer requests until `stop` is set; then take no more, and return when those in flight are answered."""
    configuration = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_timeout_s,
    )
    server = _Server(configuration)

    async def end_on_stop() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end_on_stop())
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
