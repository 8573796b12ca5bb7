"""One kept HTTP connection that posts given webhooks in turn: raw on asyncio, so that it is not what is measured."""

from __future__ import annotations

import asyncio

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Webhook-Token: {token}\r\n"
    "Content-Length: {length}\r\n\r\n"
)


class WebhookSender(asyncio.Protocol):
    """Posts one body at a time; `post` returns the HTTP status when the answer is whole."""

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token
        self._received = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a TCP transport writes

    async def post(self, body: bytes) -> int:
        """Send one webhook and wait for its answer. Raises ConnectionError when the connection goes first."""
        self._answer = asyncio.get_running_loop().create_future()
        head = HEAD.format(path=self._path, token=self._token, length=len(body))
        self._transport.write(head.encode() + body)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        length = int(head[head.index(b"content-length: ") + 16 :].split(b"\r", 1)[0])
        if len(self._received) >= head_end + 4 + length and self._answer is not None:
            self._received = b""
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exception: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the service closed the connection"))

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


async def connect(port: int, path: str, token: str) -> WebhookSender:
    """Return a sender that is connected to a port on this machine."""
    loop = asyncio.get_running_loop()
    _, sender = await loop.create_connection(lambda: WebhookSender(path, token), "127.0.0.1", port)
    return sender
