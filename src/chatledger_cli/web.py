"""The one HTTP port of `chatledger up`: webhooks, health and metrics of the ingress, orders and invoices of billing.

`python -m chatledger_cli.web DESCRIPTOR` serves on a socket that the supervisor has opened, so that the port stays
ours, and connections wait instead of being refused, while this process is started again.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

import structlog
import uvloop

from chatledger.errors import ConfigurationError
from chatledger.logs import configure_logs
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_billing import api
from chatledger_billing.read_model import ReadModel
from chatledger_cli.up_settings import read_settings
from chatledger_ingress.assembly import opened
from chatledger_ingress.secrets import Secrets, read_secrets
from chatledger_ingress.server import serve
from chatledger_ingress.settings import IngressSettings

log = structlog.get_logger()


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    try:
        settings = read_settings(IngressSettings)
        configure_logs("web", settings.log_level)
        projects = load_projects(settings.projects)
        listener = socket.socket(fileno=int(sys.argv[1]))
        uvloop.run(run(settings, projects, read_secrets(projects, os.environ), listener))
    except ConfigurationError as wrong:
        log.error("web.refused", reason=str(wrong))
        sys.exit(2)


async def run(
    settings: IngressSettings, projects: Mapping[str, Project], secrets: Secrets, listener: socket.socket
) -> None:
    """Serve until SIGTERM; what was taken is in the broker when this returns."""
    assert settings.database is not None  # the supervisor gives it
    async with opened(settings, projects, secrets) as app, ReadModel(settings.database) as read_model:
        app.include_router(api.router(read_model))
        await serve(app, listener, drain_timeout_s=settings.drain_timeout_s)
    log.info("web.drained")


if __name__ == "__main__":
    main()
