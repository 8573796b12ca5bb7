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
from chatledger.project_files import load_projects
from chatledger.projects import HmacScheme, Limits, Project
from chatledger_ingress.app import build
from chatledger_ingress.health import Health
from chatledger_ingress.secrets import Door

PROJECTS = load_projects(Path(__file__).resolve().parents[2] / "projects")
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
        secrets={Door("order-form", "chat2desk"): secrets or InboundSecrets()},
        health=health or Health(broker=passes, postgres=passes),
        monotonic=seconds,
    )
    return Ingress(publisher, seconds, app)
