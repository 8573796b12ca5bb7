"""The ingress as a process: reads the settings, listens, and drains on SIGTERM.

Exit codes: 0 after a drain, 2 when the configuration is not usable, 1 for anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import structlog
import uvloop
from pydantic import ValidationError

from chatledger.errors import ConfigurationError
from chatledger.logs import configure_logs
from chatledger.project_files import load_projects
from chatledger.projects import Project
from chatledger_ingress.assembly import opened
from chatledger_ingress.secrets import Secrets, open_doors, read_secrets
from chatledger_ingress.server import listen, serve
from chatledger_ingress.settings import IngressSettings

log = structlog.get_logger()


def main() -> None:
    """Run until SIGTERM."""
    try:
        settings = IngressSettings()  # type: ignore[call-arg]  # the environment gives them
        configure_logs("ingress", settings.log_level)
        projects = load_projects(settings.projects)
        secrets = read_secrets(projects, os.environ)
        for door in open_doors(projects, secrets, host=settings.host):
            log.warning("webhook.unguarded", project=door.project, channel=door.channel, host=settings.host)
        uvloop.run(run(settings, projects, secrets))
    except ValidationError as wrong:
        sys.exit(_refused("; ".join(f"{_variable(each['loc'])}: {each['msg']}" for each in wrong.errors())))
    except ConfigurationError as wrong:
        sys.exit(_refused(str(wrong)))


async def run(settings: IngressSettings, projects: Mapping[str, Project], secrets: Secrets) -> None:
    """Serve until SIGTERM or SIGINT; what was taken is in the broker when this returns."""
    listener = listen(settings.host, settings.port)
    async with opened(settings, projects, secrets) as app:
        log.info("ingress.listening", host=settings.host, port=listener.getsockname()[1])
        await serve(app, listener, drain_timeout_s=settings.drain_timeout_s)
    log.info("ingress.drained")


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return name if name.isupper() else f"CHATLEDGER_{name.upper()}"


def _refused(message: str) -> int:
    print(f"chatledger-ingress: {message}", file=sys.stderr)  # noqa: T201 (for the operator, before any log)
    return 2


if __name__ == "__main__":
    main()
