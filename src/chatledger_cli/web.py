"""The one HTTP port of `chatledger up`: webhooks, health and metrics of the ingress, orders and invoices of billing.

`python -m chatledger_cli.web DESCRIPTOR` serves on a socket that the supervisor has opened, so that the port stays
ours, and connections wait instead of being refused, while this process is started again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from chatledger.process import run_process
from chatledger.project_files import load_projects
from chatledger_billing import api
from chatledger_billing.read_model import ReadModel
from chatledger_ingress.assembly import opened
from chatledger_ingress.secrets import read_secrets
from chatledger_ingress.server import serve
from chatledger_ingress.settings import IngressSettings


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    sys.exit(run_process("web", IngressSettings, run))


async def run(settings: IngressSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; what was acknowledged is in the broker when this returns."""
    assert settings.database is not None, "the supervisor gives it"
    projects = load_projects(settings.projects)
    listener = socket.socket(fileno=int(sys.argv[1]))
    async with (
        opened(settings, projects, read_secrets(projects, os.environ)) as app,
        ReadModel(settings.database) as read_model,
    ):
        app.include_router(api.router(read_model))
        await serve(app, listener, stop, drain_timeout_s=settings.drain_timeout_s)


if __name__ == "__main__":
    main()
