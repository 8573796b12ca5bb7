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

import uvloop

from benchmarks.running_system import TOKEN
from benchmarks.webhook_sender import WebhookSender, connect

CLIENTS = 5_000
BODY = (
    '{"hook_type":"inbox","type":"from_client","message_id":%d,"client_id":"%05d","dialog_id":5512,"channel_id":12,'
    '"transport":"whatsapp","text":"Baker Street 221b, second floor","request_id":88,"client":{"id":77,'
    '"phone":"919876543210","name":"A Customer","assigned_name":null},"event_time":"2026-01-05T10:00:00Z"}'
)


async def keep_sending(sender: WebhookSender, ids: Iterator[int], deadline: float, latencies_s: list[float]) -> int:
    """Send one webhook after the other until the deadline; return how many were not answered 200."""
    refused = 0
    while (sent_at := time.perf_counter()) < deadline:
        number = next(ids)
        status = await sender.post((BODY % (number, number % CLIENTS)).encode())
        if status == 200:
            latencies_s.append(time.perf_counter() - sent_at)
        else:
            refused += 1
    sender.close()
    return refused


async def load(path: str, port: int, connections: int, seconds: float, first_id: int) -> dict[str, float]:
    """Send until the time is over; return the figures."""
    senders = [await connect(port, path, TOKEN) for _ in range(connections)]
    ids, latencies_s = count(first_id), list[float]()
    started_at = time.perf_counter()
    deadline = started_at + seconds
    refused = await asyncio.gather(*(keep_sending(sender, ids, deadline, latencies_s) for sender in senders))
    latencies_ms = sorted(latency * 1000 for latency in latencies_s)
    return {
        "requests": len(latencies_ms),
        "seconds": time.perf_counter() - started_at,
        "p50_ms": statistics.median(latencies_ms) if latencies_ms else 0.0,
        "p95_ms": latencies_ms[int(len(latencies_ms) * 0.95)] if latencies_ms else 0.0,
        "refused": sum(refused),
    }


if __name__ == "__main__":
    _, path_, port_, connections_, seconds_, first_id_ = sys.argv
    figures = uvloop.run(load(path_, int(port_), int(connections_), float(seconds_), int(first_id_)))
    print(json.dumps(figures))
