"""A load generator for webhooks: HTTP/1.1 over kept connections, raw on asyncio, so that it is not what is measured.

    python -m benchmarks.http_load URL_PATH PORT CONNECTIONS SECONDS FIRST_ID

FIRST_ID has nine digits, so that every body is of one length.

Each connection sends the next webhook as soon as the last one is answered. The last line is a JSON object:
`{requests, seconds, p50_ms, p95_ms, refused}`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import cast

import uvloop

CLIENTS = 5_000
HEADERS = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Chat2Desk\r\nAccept: */*\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)
BODY = (
    '{"hook_type":"inbox","type":"from_client","message_id":%d,"client_id":"%05d","dialog_id":5512,"channel_id":12,'
    '"transport":"whatsapp","text":"Baker Street 221b, second floor","request_id":88,"client":{"id":77,'
    '"phone":"919876543210","name":"A Customer","assigned_name":null},"event_time":"2026-01-05T10:00:00Z"}'
)


class Sender(asyncio.Protocol):
    """One connection with one request in flight."""

    def __init__(self, path: str, ids: Iterator[int], deadline: float) -> None:
        self._head = HEADERS.format(path=path, length=len(BODY % (10**8, 0))).encode()
        self._ids, self._deadline = ids, deadline
        self._received = b""
        self.latencies_s: list[float] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but name.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        length_at = head.index(b"content-length: ") + 16
        length = int(head[length_at:].split(b"\r", 1)[0])
        if len(self._received) < head_end + 4 + length:
            return
        now = time.perf_counter()
        if head[9:12] == b"200":
            self.latencies_s.append(now - self._sent_at)
        else:
            self.refused += 1
        self._received = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exception: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        number = next(self._ids)
        self._sent_at = time.perf_counter()
        self._transport.write(self._head + (BODY % (number, number % CLIENTS)).encode())


async def load(path: str, port: int, connections: int, seconds: float, first_id: int) -> dict[str, float]:
    """Send until the time is over; return the figures."""
    ids = count(first_id)
    started_at = time.perf_counter()
    senders = []
    for _ in range(connections):
        _, sender = await asyncio.get_running_loop().create_connection(
            lambda: Sender(path, ids, started_at + seconds), "127.0.0.1", port
        )
        senders.append(sender)
    await asyncio.wait([sender.done for sender in senders])
    latencies_ms = sorted(latency * 1000 for sender in senders for latency in sender.latencies_s)
    return {
        "requests": len(latencies_ms),
        "seconds": time.perf_counter() - started_at,
        "p50_ms": statistics.median(latencies_ms) if latencies_ms else 0.0,
        "p95_ms": latencies_ms[int(len(latencies_ms) * 0.95)] if latencies_ms else 0.0,
        "refused": sum(sender.refused for sender in senders),
    }


if __name__ == "__main__":
    _, path_, port_, connections_, seconds_, first_id_ = sys.argv
    figures = uvloop.run(load(path_, int(port_), int(connections_), float(seconds_), int(first_id_)))
    print(json.dumps(figures))
