"""A stand-in for the providers' HTTP APIs: takes messages over real HTTP and answers as Chat2Desk does.

For the demo, tests and benchmarks; it handles thousands of requests a second on part of a core. A message that comes
again with the same idempotency key is answered with the same message id. `GET /received?after=N` returns what came,
from the Nth on, as JSON; `GET /count` how much that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, cast
from urllib.parse import parse_qs, urlsplit

import httptools
import orjson

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """One request to send a message, as it came. `arrived_at` is Unix time in seconds."""

    client_id: str
    text: str
    idempotency_key: str
    authorization: str
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How to answer a message. `body` unset means what Chat2Desk says; "reset" and "hang" give no answer at all."""

    status: int = 200
    delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    instead: Literal["reset", "hang"] | None = None


ACCEPTED = Answer()


def accept_everything(message: ReceivedMessage) -> Answer:
    """The script of a provider in good health."""
    return ACCEPTED


class ProviderStandIn:
    """The server: `start()`, `url`, `received`, `stop()`, all on one event loop."""

    def __init__(self, script: Callable[[ReceivedMessage], Answer] = accept_everything) -> None:
        self.received: list[ReceivedMessage] = []
        self.script = script
        self.message_ids: dict[str, int] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

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
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()
        self._server = None

    def take(self, message: ReceivedMessage) -> Answer:
        """Note a message and tell the answer to it."""
        self.received.append(message)
        return self.script(message)

    def message_id(self, message: ReceivedMessage) -> int:
        """The id that this message has here: one for each idempotency key."""
        key = message.idempotency_key or f"none {len(self.received)}"
        return self.message_ids.setdefault(key, 1_000_000 + len(self.message_ids))


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
            message = _message(headers, body)
        except (orjson.JSONDecodeError, AttributeError):
            self._respond(400, b'{"status":"error","message":"body is not a JSON object"}', {})
            return
        answer = self._provider.take(message)
        if answer.delay_s > 0:
            asyncio.get_running_loop().call_later(answer.delay_s, self._answer, message, answer)
        else:
            self._answer(message, answer)

    def _answer(self, message: ReceivedMessage, answer: Answer) -> None:
        if answer.instead == "reset":
            self.close()
        if answer.instead is not None:
            return
        if answer.body is not None:
            body = answer.body
        elif 200 <= answer.status < 300:
            number = self._provider.message_id(message)
            body = b'{"status":"success","data":{"message_id":%d,"type":"to_client"}}' % number
        else:
            body = b'{"status":"error","message":"scripted"}'
        self._respond(answer.status, body, answer.headers)

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


def _message(headers: Mapping[bytes, bytes], body: bytes) -> ReceivedMessage:
    content = orjson.loads(body)
    return ReceivedMessage(
        client_id=str(content.get("client_id", "")),
        text=str(content.get("text", "")),
        idempotency_key=headers.get(b"idempotency-key", b"").decode("latin-1"),
        authorization=headers.get(b"authorization", b"").decode("latin-1"),
        arrived_at=time.time(),
    )
