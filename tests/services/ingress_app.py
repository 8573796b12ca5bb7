"""The ingress as an application over a publisher in memory, for its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from chatledger.adapters.clock import ManualClock
from chatledger.channels.base import InboundSecrets
from chatledger.events.envelope import Envelope
from chatledger.project_files import parse_project
from chatledger.projects import ChannelSettings, HmacScheme, Limits, Project
from chatledger_cli.webhooks import Webhook
from chatledger_ingress.app import build
from chatledger_ingress.health import Health
from chatledger_ingress.secrets import Door

_EXAMPLE = Path(__file__).resolve().parents[2] / "projects" / "order-form.yaml"
PROJECTS = {"order-form": parse_project(_EXAMPLE.read_text(encoding="utf-8"), where=_EXAMPLE.name)}
PATH = "/webhook/chat2desk"
PROJECT_PATH = "/webhook/chat2desk/order-form"
NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
REFERENCE = {"client_id": 77, "message_id": 1001, "text": "hello"}
JSON = {"content-type": "application/json"}


@dataclass
class MemoryPublisher:
    """Keeps what was published; raises `fails_with` instead when that is set."""

    published: list[tuple[str, Envelope]] = field(default_factory=list)
    fails_with: Exception | None = None

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.published.extend((topic, envelope) for envelope in envelopes)

    @property
    def envelopes(self) -> list[Envelope]:
        return [envelope for _, envelope in self.published]


async def passes() -> None:
    """A check that passes."""


@dataclass
class Seconds:
    """A monotonic clock that stands still until it is moved."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Ingress:
    """An application, and what is behind it."""

    publisher: MemoryPublisher
    seconds: Seconds
    app: FastAPI

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://ingress")

    async def post(self, body: Any = None, *, path: str = PATH, **options: Any) -> httpx.Response:
        """POST a JSON document, or bytes as they are."""
        headers = JSON | options.pop("headers", {})
        async with self.client() as client:
            if isinstance(body, bytes):
                return await client.post(path, content=body, headers=headers, **options)
            return await client.post(path, json=REFERENCE if body is None else body, headers=headers, **options)


def ingress(
    *,
    secrets: InboundSecrets | None = None,
    hmac: HmacScheme | None = None,
    limits: Limits | None = None,
    health: Health | None = None,
    more_projects: dict[str, Project] | None = None,
    more_secrets: dict[Door, InboundSecrets] | None = None,
    public_base_url: str = "",
) -> Ingress:
    """Build one whose only project is the example, with whatever the test varies."""
    project = PROJECTS["order-form"]
    channel = replace(project.channels["chat2desk"], hmac=hmac)
    project = replace(project, channels={"chat2desk": channel}, limits=limits or project.limits)
    publisher, seconds = MemoryPublisher(), Seconds()
    app = build(
        projects={"order-form": project, **(more_projects or {})},
        publisher=publisher,
        clock=ManualClock(NOW),
        secrets={Door("order-form", "chat2desk"): secrets or InboundSecrets(), **(more_secrets or {})},
        health=health or Health(broker=passes, postgres=passes),
        monotonic=seconds,
        public_base_url=public_base_url,
    )
    return Ingress(publisher, seconds, app)


AUTH_TOKEN, APP_SECRET, VERIFY_TOKEN = "auth-token", "app-secret", "verify-token"


def whatsapp_ingress(
    *, channels: Sequence[str] = ("twilio", "meta"), public_base_url: str = "", **changes: Any
) -> Ingress:
    """Build one that has a store on WhatsApp beside the example; `changes` are other secrets of the store's Twilio."""
    verify_tokens = ("retired", VERIFY_TOKEN)
    secrets = {
        "twilio": InboundSecrets(**({"tokens": (AUTH_TOKEN,), "verify_tokens": verify_tokens} | changes)),
        "meta": InboundSecrets(tokens=(APP_SECRET,), verify_tokens=verify_tokens),
    }
    store = replace(PROJECTS["order-form"], name="store", channels={name: ChannelSettings() for name in channels})
    return ingress(
        more_projects={"store": store},
        more_secrets={Door("store", name): secrets[name] for name in channels},
        public_base_url=public_base_url,
    )


async def post_webhook(service: Ingress, url: str, webhook: Webhook) -> httpx.Response:
    """POST what a provider has signed, as it is."""
    async with service.client() as client:
        return await client.post(url, content=webhook.body, headers={**webhook.headers})
