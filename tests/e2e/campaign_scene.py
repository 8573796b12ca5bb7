"""A shop with many clients, and a campaign to them: `chatledger up`, Twilio's stand-in, and what each of them tells."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from chatledger.adapters.kafka import KafkaPublisher, start_producer, stop_producer
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived
from chatledger.topics import INBOUND
from tests.e2e.up_process import PROJECTS, UpProcess, until
from tests.support.provider import Answer, ReceivedMessage, ScriptedProvider

SENDER = "+14155238886"
LINE_TIMEOUT_S = 180.0
PUBLISH_AT_ONCE = 1_000


def phone(number: int) -> str:
    """The phone number of the client with this number."""
    return f"+9199{number:08d}"


class TwilioStandIn(ScriptedProvider):
    """Takes every message. With `reports` it reports it delivered, every third read, every tenth not delivered."""

    def __init__(self, *, reports: bool = True) -> None:
        super().__init__()
        self._reports = reports

    def _answer(self, message: ReceivedMessage) -> Answer:
        if self._reports and message.text.startswith(GREETING):
            number = int(message.client_id[-8:])
            if number % 10 == 0:
                return Answer(callbacks=("sent", "undelivered"))
            return Answer(callbacks=("sent", "delivered", "read")[: 3 if number % 3 == 0 else 2])
        return Answer()


GREETING = "Hello from the campaign"


@dataclass(kw_only=True)
class Scene:
    """The running system, the provider, and a client of the API."""

    up: UpProcess
    provider: ScriptedProvider
    http: httpx.Client
    wrote: Counter[int] = field(default_factory=Counter)

    def write(self, numbers: Sequence[int], text: str) -> None:
        """Have clients write, as the ingress publishes it, and wait until each of them was answered."""
        before = len(self.provider.received)
        asyncio.run(self._publish([self._message(number, text) for number in numbers]))
        until(
            lambda: len(self.provider.received) >= before + len(numbers),
            timeout_s=LINE_TIMEOUT_S,
            what=f"{len(numbers)} clients are answered",
        )

    async def _publish(self, envelopes: Sequence[Envelope]) -> None:
        producer = await start_producer(self.up.state["broker"])
        try:
            for start in range(0, len(envelopes), PUBLISH_AT_ONCE):
                await KafkaPublisher(producer).publish(INBOUND, envelopes[start : start + PUBLISH_AT_ONCE])
        finally:
            await stop_producer(producer)

    def _message(self, number: int, text: str) -> Envelope:
        self.wrote[number] += 1
        message_id = f"SM{number:020d}{self.wrote[number]:012d}"
        received = MessageReceived(
            channel="twilio",
            client_id=phone(number),
            provider_message_id=message_id,
            text=text,
            reply_to={},
            raw={},
            client_name=f"Client {number}",
        )
        conversation = conversation_id("store", "twilio", phone(number))
        return from_outside(
            received,
            id=derive_id("twilio", message_id),
            source="/chatledger/ingress",
            conversation=conversation,
            time=datetime.now(UTC),
        )

    def start_campaign(self, **changes: Any) -> str:
        """Start a promotion to everybody; its id."""
        wanted = {
            "name": "monsoon",
            "message": GREETING + ", {{ name|default('friend') }}",
            "type": "PROMOTIONAL",
            "targetAudience": {"type": "all"},
            "startImmediately": True,
        }
        return str(self.ask("POST", "", json=wanted | changes)["id"])

    def ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Ask the API of campaigns. Raises AssertionError when it refuses."""
        answer = self.http.request(method, f"/whatsapp/campaigns{path}", **arguments)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def told(self) -> list[ReceivedMessage]:
        """The campaign's messages as the provider got them."""
        return [message for message in self.provider.received if message.text.startswith(GREETING)]

    def ledger(self) -> list[Envelope]:
        """Everything that is recorded."""
        return asyncio.run(self._ledger())

    async def _ledger(self) -> list[Envelope]:
        pool = await open_pool(self.up.state["database"])
        try:
            return [each.envelope async for each in PostgresLedgerReader(pool).read()]
        finally:
            await pool.close()


@contextmanager
def shop(
    folder: Path, provider: ScriptedProvider, *, port: int, broker: str = "", database: str = ""
) -> Iterator[Scene]:
    """Start the shop whose hours are never quiet; drain and stop it afterwards."""
    (folder / "projects").mkdir()
    (folder / "projects" / "store.yaml").write_text(_project(), encoding="utf-8")
    up = UpProcess(folder, broker=broker, database=database)
    up.environment |= {
        "CHATLEDGER_PROJECTS": str(folder / "projects"),
        "TWILIO_SID": "AC00000000000000000000000000000000",
        "TWILIO_AUTH_TOKEN": "twilio-token",
        "TWILIO_WHATSAPP_NUMBER": SENDER,
        "TWILIO_API_URL": provider.url,
        "META_API_URL": provider.url,
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
    }
    try:
        up.start()
        made = up.run("keys", "create", "--name", "campaigns", "--scope", "write", "--json")
        key = json.loads(made.stdout)["key"]
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=up.url, headers=headers, trust_env=False, timeout=60) as http:
            yield Scene(up=up, provider=provider, http=http)
        assert up.stop() == 0, up.log[-3000:]
    finally:
        up.end()


def wait(seconds: float) -> None:
    """Let time pass in which nothing may happen."""
    time.sleep(seconds)


def _project() -> str:
    text = (PROJECTS / "store.yaml").read_text(encoding="utf-8")
    for line, instead in (
        ("quiet_from: 21", "quiet_from: 0"),
        ("quiet_until: 8", "quiet_until: 0"),
        ("webhooks_per_second: 2000", "webhooks_per_second: 100000"),
    ):
        assert line in text, line
        text = text.replace(line, instead)
    return text
