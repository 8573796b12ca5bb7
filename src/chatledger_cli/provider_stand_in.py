"""A stand-in for the providers' HTTP APIs: takes messages over real HTTP and answers as Chat2Desk, Twilio or Meta does.

For the demo, tests and benchmarks; it handles thousands of requests a second on part of a core. Which provider is meant
the path tells. At Chat2Desk a message that comes again with the same idempotency key has the same message id; the
others promise no such thing, and so each request that they take is a message of its own. `GET /received?after=N`
returns what came, from the Nth on, as JSON; `GET /count` how much that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import httptools
import orjson

from chatledger_cli.provider_dialects import (
    Answer,
    ReceivedMessage,
    acceptance,
    provider_message_id,
    read_message,
    refusal,
    status_callback,
    twilio_error,
)

__all__ = ["ACCEPTED", "Answer", "ProviderStandIn", "ReceivedMessage", "accept_everything", "twilio_error"]

HOST = "127.0.0.1"
FIRST_NUMBER = 1_000_000
CALLBACK_TIMEOUT_S = 5.0

ACCEPTED = Answer()


def accept_everything(message: ReceivedMessage) -> Answer:
    """The script of a provider in good health."""
    return ACCEPTED


class ProviderStandIn:
    """The server: `start()`, `url`, `received`, `stop()`, all on one event loop."""

    def __init__(
        self, script: Callable[[ReceivedMessage], Answer] = accept_everything, *, first_number: int = FIRST_NUMBER
    ) -> None:
        self._first_number = first_number
        self.received: list[ReceivedMessage] = []
        self.script = script
        self.message_ids: dict[str, int] = {}
        self.callback_statuses: list[tuple[str, int]] = []
        """Of each status that was reported what the callback URL answered; 0 where it did not."""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._reporting: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """The base URL, for CHAT2DESK_API_URL; empty before `start()`."""
        if self._server is None:
            return ""
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self, port: int = 0) -> ProviderStandIn:
        """Listen on a loopback port, 0 for a free one, and return itself. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, self._connections), HOST, port)
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._reporting:
            task.cancel()
        await asyncio.gather(*self._reporting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()
        self._server = None

    def take(self, message: ReceivedMessage) -> Answer:
        """Note a message and tell the answer to it."""
        self.received.append(message)
        return self.script(message)

    def number(self, message: ReceivedMessage) -> int:
        """The number of a message that was taken: at Chat2Desk one for each idempotency key."""
        key = message.idempotency_key if message.channel == "chat2desk" else ""
        count = len(self.message_ids)
        return self.message_ids.setdefault(key or f"none {count}", self._first_number + count)

    def report(self, message: ReceivedMessage, number: int, answer: Answer) -> None:
        """Begin to post the answer's callbacks, one after the other."""
        if answer.callbacks and message.callback_url:
            task = asyncio.get_running_loop().create_task(self._report(message, number, answer))
            self._reporting.add(task)
            task.add_done_callback(self._reporting.discard)

    async def _report(self, message: ReceivedMessage, number: int, answer: Answer) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALLBACK_TIMEOUT_S))
        for status in answer.callbacks:
            headers, body = status_callback(message, provider_message_id(message, number), status)
            try:
                async with self._session.post(message.callback_url, data=body, headers=headers) as answered:
                    self.callback_statuses.append((status, answered.status))
            except (aiohttp.ClientError, TimeoutError):
                self.callback_statuses.append((status, 0))


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Requests on it are answered in turn; clients here do not pipeline."""

    def __init__(self, provider: ProviderStandIn, connections: set[_Connection]) -> None:
        self._provider, self._connections = provider, connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._url, self._body = b"", b""
        self._headers: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method, url, headers, body = self._parser.get_method(), self._url, self._headers, self._body
        self._begin()
        if method == b"GET":
            self._respond(200, self._report(url.decode()), {})
            return
        try:
            message = read_message(urlsplit(url.decode()).path, headers, body)
        except (ValueError, AttributeError):
            self._respond(400, b'{"status":"error","message":"body is not a message"}', {})
            return
        answer = self._provider.take(message)
        if answer.delay_s > 0:
            asyncio.get_running_loop().call_later(answer.delay_s, self._answer, message, answer)
        else:
            self._answer(message, answer)

    def _answer(self, message: ReceivedMessage, answer: Answer) -> None:
        status, body = answer.status, answer.body
        if answer.accepted:
            number = self._provider.number(message)
            accepted_status, accepted_body = acceptance(message, number)
            status = accepted_status if status == 200 else status
            body = accepted_body if body is None else body
            self._provider.report(message, number, answer)
        if answer.instead == "reset":
            self.close()
        if answer.instead is None:
            self._respond(status, refusal(message, status) if body is None else body, answer.headers)

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if self._transport is None:
            return
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._transport.write(
            b"HTTP/1.1 %d Answer\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
            % (status, len(body), more, body)
        )

    def _report(self, url: str) -> bytes:
        split = urlsplit(url)
        if split.path == "/received":
            after = int(parse_qs(split.query).get("after", ["0"])[0])
            return orjson.dumps([asdict(message) for message in self._provider.received[after:]])
        return orjson.dumps({"count": len(self._provider.received)})
