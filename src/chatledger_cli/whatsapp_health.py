"""GET /whatsapp/health: broker, Postgres, the breakers, how far behind each service is, and how old the inventory is.

Broker or Postgres away: unhealthy, 503. A breaker that is not closed: degraded, 200, because the rest goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, LiteralString, TypeVar

import psycopg
import structlog
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from psycopg.rows import dict_row
from pydantic.alias_generators import to_camel

from chatledger.access import Scope
from chatledger.adapters.kafka import cluster_id
from chatledger.http_api import Guard, ProblemRoute
from chatledger_cli.lags import Lags

CHECK_TIMEOUT_S = 2.0
"""What has not answered by then is away; whoever asks for health has a timeout too."""
BREAKERS: dict[str, LiteralString] = {
    "notify": "SELECT name, state, failures, changed_at, seen_at FROM notify.breakers ORDER BY name",
    "crm": "SELECT name, state, failures, changed_at, seen_at FROM crm.breakers ORDER BY name",
}
"""Where each service that calls others shows its breakers."""
INVENTORY: LiteralString = """
    SELECT project, count(*) AS products, max(fetched_at) AS fetched_at,
           extract(epoch FROM clock_timestamp() - max(fetched_at))::float8 AS age_s
    FROM crm.inventory GROUP BY project ORDER BY project
"""
"""Of each project's stock and prices the last copy that its CRM gave."""

Answer = TypeVar("Answer")
Row = dict[str, Any]

log = structlog.get_logger()


class WhatsappHealth:
    """What there is to ask, over connections of its own; the broker's is opened when it is first asked."""

    def __init__(self, *, broker: str, incarnation: str | None, database: str, services: Sequence[str]) -> None:
        self._broker, self._incarnation, self._database = broker, incarnation, database
        self._services = services
        self._opened = contextlib.AsyncExitStack()
        self._lags: Lags | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> WhatsappHealth:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def report(self) -> dict[str, Any]:
        """Return the document. What could not be asked is null, and the log says why."""
        async with self._lock:  # one question at a time, however many ask
            ends = await _asked("broker", self._ends)
            tables = await _asked("postgres", self._tables)
            lag = await _asked("lag", self._lag) if ends is not None and tables is not None else None
        breakers, inventory = tables if tables is not None else (None, None)
        if ends is None or tables is None:
            status = "unhealthy"
        else:
            status = "healthy" if all(each["state"] == "closed" for each in breakers or ()) else "degraded"
        return {
            "status": status,
            "checks": {"broker": ends is not None, "postgres": tables is not None},
            "breakers": breakers,
            "lag": lag,
            "inventory": inventory,
        }

    async def _ends(self) -> object:
        return await (await self._open_lags()).ends()

    async def _lag(self) -> dict[str, int]:
        return await (await self._open_lags()).now()

    async def _open_lags(self) -> Lags:
        if self._lags is None:
            incarnation = self._incarnation or await cluster_id(self._broker)
            opening = Lags.open(
                broker=self._broker, incarnation=incarnation, database=self._database, services=self._services
            )
            self._lags = await self._opened.enter_async_context(opening)
        return self._lags

    async def _tables(self) -> tuple[list[Row], list[Row]]:
        """The breakers, and of each project the age of its inventory."""
        breakers: list[Row] = []
        async with (
            await psycopg.AsyncConnection.connect(self._database, connect_timeout=int(CHECK_TIMEOUT_S)) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            for service in self._services:
                if service in BREAKERS:
                    rows = await (await cursor.execute(BREAKERS[service])).fetchall()
                    breakers += [{"service": service, **_written(row)} for row in rows]
            inventory = await (await cursor.execute(INVENTORY)).fetchall() if "crm" in self._services else []
        return breakers, [_written(row) for row in inventory]


def router(health: WhatsappHealth, guard: Guard) -> APIRouter:
    """Return the route. Whoever mounts it opens and closes `health`."""
    routes = APIRouter(prefix="/whatsapp", route_class=ProblemRoute, tags=["health"])
    responses: dict[int | str, dict[str, Any]] = {503: {"description": "The broker or Postgres does not answer."}}

    @routes.get("/health", dependencies=[Depends(guard(Scope.READ))], responses=responses)
    async def read_whatsapp_health() -> JSONResponse:
        """Tell how the store's outside services and our own are doing."""
        report = await health.report()
        return JSONResponse(report, status_code=503 if report["status"] == "unhealthy" else 200)

    return routes


def _written(row: Row) -> Row:
    """A row in camelCase, as all that is answered under /whatsapp."""
    return {to_camel(name): each.isoformat() if isinstance(each, datetime) else each for name, each in row.items()}


async def _asked(name: str, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await question()
    except Exception as wrong:
        # Whatever a client library raises, the answer is that it is away; the log says why.
        log.warning("whatsapp_health.check_failed", check=name, error=str(wrong) or type(wrong).__name__)
        return None
