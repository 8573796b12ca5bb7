"""The whole line: from the webhook over HTTP to the provider's stand-in receiving the reply.

Real Kafka, real Postgres, every service, the load and the stand-in on this machine. `line_rate` sends a number of
messages with a bounded number of replies outstanding, and counts from the first webhook to the last reply;
`line_latency` sends at a steady 100 messages/s. Every message of the dialogue has one reply, and a client's replies
come in order, so the nth reply to a client answers their nth message.

    python -m benchmarks.line [--messages N] [--resources]

`--resources` prints each service's processor time per message and its resident memory at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import defaultdict, deque

import orjson
import psutil
import uvloop

from benchmarks.report import report
from benchmarks.running_system import TOKEN, running_system
from benchmarks.webhook_sender import WebhookSender, connect
from chatledger_cli.provider_stand_in import ACCEPTED, Answer, ProviderStandIn, ReceivedMessage

DIALOGUE = ("Hello", "Baker Street 221b", "+91 98765 43210", "3", "yes")
PATH = "/webhook/chat2desk"
CONNECTIONS = 32
OUTSTANDING_MAX = 1_500
LATENCY_RATE = 100
LATENCY_SECONDS = 20
WARM_UP_MESSAGES = 1_000
REPLIES_TIMEOUT_S = 120


class Replies:
    """Matches what the stand-in receives with what was sent."""

    def __init__(self) -> None:
        self.sent_at: dict[str, deque[float]] = defaultdict(deque)
        self.ages_ms: list[float] = []
        self.outstanding = 0
        self.changed = asyncio.Event()

    def expect(self, client: str) -> None:
        """A message of `client` goes out now."""
        self.sent_at[client].append(time.perf_counter())
        self.outstanding += 1

    def take(self, message: ReceivedMessage) -> Answer:
        """The stand-in's script: note the reply's age."""
        self.ages_ms.append((time.perf_counter() - self.sent_at[message.client_id].popleft()) * 1000)
        self.outstanding -= 1
        self.changed.set()
        return ACCEPTED

    async def until(self, outstanding_max: int) -> None:
        """Wait until at most so many replies are outstanding. Raises TimeoutError."""
        async with asyncio.timeout(REPLIES_TIMEOUT_S):
            while self.outstanding > outstanding_max:
                self.changed.clear()
                await self.changed.wait()


class Customers:
    """An endless row of clients who each go through one whole order."""

    def __init__(self) -> None:
        self._number = 0
        self._message = 0

    def next_webhook(self) -> tuple[str, bytes]:
        """Return the client and the body of the next message; a client's five messages are a hundred others apart."""
        block, within = divmod(self._message, 100 * len(DIALOGUE))
        step, offset = divmod(within, 100)
        client = str(1_000_000 + block * 100 + offset)
        self._message += 1
        body = {
            "hook_type": "inbox",
            "type": "from_client",
            "message_id": 10_000_000 + self._message,
            "client_id": int(client),
            "dialog_id": 5512,
            "channel_id": 12,
            "transport": "whatsapp",
            "text": DIALOGUE[step],
            "client": {"id": int(client), "phone": "919876543210", "name": "A Customer"},
        }
        return client, orjson.dumps(body)


async def send_all(senders: list[WebhookSender], customers: Customers, replies: Replies, messages: int) -> float:
    """Send `messages` with bounded replies outstanding; return messages/s up to the last reply."""
    started_at = time.perf_counter()
    left = messages

    async def keep_sending(sender: WebhookSender) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await replies.until(OUTSTANDING_MAX)
            client, body = customers.next_webhook()
            await _post(sender, client, body, replies)

    await asyncio.gather(*(keep_sending(sender) for sender in senders))
    await replies.until(0)
    return messages / (time.perf_counter() - started_at)


async def send_steadily(senders: list[WebhookSender], customers: Customers, replies: Replies) -> list[float]:
    """Send LATENCY_RATE messages/s for LATENCY_SECONDS; return each reply's age in milliseconds."""
    replies.ages_ms.clear()
    free: asyncio.Queue[WebhookSender] = asyncio.Queue()
    for sender in senders:
        free.put_nowait(sender)
    started_at = time.perf_counter()

    async def post_and_return(sender: WebhookSender) -> None:
        await _post(sender, *customers.next_webhook(), replies)
        free.put_nowait(sender)

    async with asyncio.TaskGroup() as group:
        for number in range(LATENCY_RATE * LATENCY_SECONDS):
            await asyncio.sleep(max(0.0, started_at + number / LATENCY_RATE - time.perf_counter()))
            group.create_task(post_and_return(await free.get()))
    await replies.until(0)
    return sorted(replies.ages_ms)


async def _post(sender: WebhookSender, client: str, body: bytes, replies: Replies) -> None:
    replies.expect(client)
    status = await sender.post(body)
    if status != 200:
        raise RuntimeError(f"a webhook was answered {status}")


async def measure(messages: int, resources: bool) -> None:
    """Run both measurements on one running system, and print their lines."""
    replies = Replies()
    provider = await ProviderStandIn(replies.take).start()
    with running_system(provider.url) as system:
        senders = [await connect(system.port, PATH, TOKEN) for _ in range(CONNECTIONS)]
        customers = Customers()
        await send_all(senders, customers, replies, WARM_UP_MESSAGES)
        ages_ms = await send_steadily(senders, customers, replies)
        before = usage()
        rate = await send_all(senders, customers, replies, messages)
        after = usage()
        for sender in senders:
            sender.close()
        report("line_rate", "messages/s", rate, None, None)
        report("line_latency", "ms p95 at 100 messages/s", ages_ms[int(len(ages_ms) * 0.95)], None, None)
        if resources:
            for name, (seconds, mib) in after.items():
                cost_ms = (seconds - before.get(name, (0.0, 0))[0]) * 1000 / messages
                print(
                    json.dumps({"process": name, "cpu_ms_per_message": round(cost_ms, 3), "rss_mib": mib}), flush=True
                )
    await provider.stop()


def usage() -> dict[str, tuple[float, int]]:
    """Of each process that takes part: seconds of processor time so far, and resident memory in MiB.

    Processes of one name count together; memory that Postgres's processes share is then counted more than once.
    """
    found: dict[str, tuple[float, int]] = {}
    ours = psutil.Process()
    for process in [ours, *ours.children(recursive=True), *_postgres()]:
        modules = [word for word in process.cmdline() if word.startswith("chatledger_")]
        name = "load and stand-in" if process == ours else modules[-1] if modules else process.name()
        times, (seconds, mib) = process.cpu_times(), found.get(name, (0.0, 0))
        found[name] = (seconds + times.user + times.system, mib + (process.memory_info().rss >> 20))
    return found


def _postgres() -> list[psutil.Process]:
    """The server daemonises, so it is nobody's child."""
    return [process for process in psutil.process_iter() if process.name() == "postgres" and process.ppid() != 0]


def run() -> None:
    """Print line_rate and line_latency."""
    uvloop.run(measure(messages=20_000, resources=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--messages", type=int, default=20_000, help="how many messages line_rate sends (20000)")
    parser.add_argument("--resources", action="store_true", help="print what each service costs")
    chosen = parser.parse_args()
    uvloop.run(measure(chosen.messages, chosen.resources))
