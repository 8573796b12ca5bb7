"""Composition root: puts the ingress together from values. No globals, no environment, nothing is started here.

The result is a FastAPI application; whoever runs several services behind one port includes their routers in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from chatledger import __version__
from chatledger.errors import BrokerUnavailable, SenderError
from chatledger.http_problems import MEDIA_TYPE, Problem, problem_of_fields, problem_of_status
from chatledger.metrics import CONTENT_TYPE, render_metrics
from chatledger.ports import Clock, Publisher
from chatledger.projects import Project
from chatledger_ingress.edge import PATH_PREFIXES, WebhookEndpoint
from chatledger_ingress.handlers import routes_of
from chatledger_ingress.health import Health, HealthReporter
from chatledger_ingress.openapi import add_webhooks
from chatledger_ingress.problems import UNEXPECTED, problem_of
from chatledger_ingress.secrets import Secrets
from chatledger_ingress.settings import BODY_BYTES_MAX

NOTHING_HERE = "there is nothing at this path; /docs lists what there is"
DESCRIPTION = "Takes webhooks of chat providers, and answers once the broker has them."


class IngressApp(FastAPI):
    """FastAPI, with webhooks on a path of their own: past its middleware and router, which cost more than the work."""

    webhooks_endpoint: WebhookEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(PATH_PREFIXES):
            await self.webhooks_endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The description of everything that is mounted, webhooks included."""
        return add_webhooks(super().openapi())


def build(
    *,
    projects: Mapping[str, Project],
    publisher: Publisher,
    clock: Clock,
    secrets: Secrets,
    health: Health,
    body_bytes_max: int = BODY_BYTES_MAX,
    public_base_url: str = "",
    monotonic: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Return the ingress as an application. Raises ConfigurationError when two projects claim one bare path.

    `public_base_url` is what providers know it by, where the Host header does not tell. `monotonic` tells seconds, for
    limits and for the uptime. The publisher is its owner's to start and stop.
    """
    routes = routes_of(projects, secrets, monotonic=monotonic)
    app = IngressApp(title="chatledger", version=__version__, description=DESCRIPTION)
    app.webhooks_endpoint = WebhookEndpoint(
        routes, publisher=publisher, clock=clock, body_bytes_max=body_bytes_max, public_base_url=public_base_url
    )
    _answer_errors_as_problems(app)
    _add_health(app, HealthReporter(health, monotonic=monotonic))
    _add_root(app, projects, monotonic)

    @app.get("/metrics", summary="Metrics in Prometheus text form", response_class=Response)
    async def metrics() -> Response:
        return Response(render_metrics(), media_type=CONTENT_TYPE)

    return app


def _add_health(app: FastAPI, reporter: HealthReporter) -> None:
    example = {"status": "healthy", "checks": {"broker": True, "postgres": True, "queues": {"message": 0, "outbox": 0}}}

    @app.get(
        "/health",
        summary="Whether the broker and Postgres answer, and how much waits",
        responses={
            200: {"content": {"application/json": {"example": example}}},
            503: {"description": "A check has failed; it is false."},
        },
    )
    async def health() -> JSONResponse:
        report = await reporter.report()
        return JSONResponse(report, status_code=200 if report["status"] == "healthy" else 503)


def _add_root(app: FastAPI, projects: Mapping[str, Project], monotonic: Callable[[], float]) -> None:
    started_at = monotonic()
    names = sorted({channel for project in projects.values() for channel in project.channels})
    channels = {
        name: sorted(project.name for project in projects.values() if name in project.channels) for name in names
    }

    @app.get("/", summary="What runs here, and where the rest is")
    async def root() -> dict[str, Any]:
        return {
            "name": "chatledger",
            "version": __version__,
            "uptime_s": round(monotonic() - started_at, 3),
            "channels": channels,
            "links": {"docs": "/docs", "openapi": "/openapi.json", "health": "/health", "metrics": "/metrics"},
        }


def _answer_errors_as_problems(app: FastAPI) -> None:
    def answer(request: Request, problem: Problem) -> Response:
        body = problem.body(request.url.path)
        return Response(body, problem.status, {**problem.headers, "content-type": MEDIA_TYPE})

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, wrong: HTTPException) -> Response:
        detail = NOTHING_HERE if wrong.status_code == HTTPStatus.NOT_FOUND else str(wrong.detail)
        return answer(request, problem_of_status(wrong.status_code, detail, dict(wrong.headers or {})))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, wrong: RequestValidationError) -> Response:
        return answer(
            request,
            problem_of_fields([(".".join(map(str, each["loc"])), str(each["msg"])) for each in wrong.errors()]),
        )

    @app.exception_handler(SenderError)
    async def refused(request: Request, wrong: SenderError) -> Response:
        return answer(request, problem_of(wrong))

    @app.exception_handler(BrokerUnavailable)
    async def unavailable(request: Request, wrong: BrokerUnavailable) -> Response:
        return answer(request, problem_of(wrong))

    # The framework raises it again after this answer, so that the server logs it.
    @app.exception_handler(Exception)
    async def unexpected(request: Request, wrong: Exception) -> Response:
        return answer(request, UNEXPECTED)
