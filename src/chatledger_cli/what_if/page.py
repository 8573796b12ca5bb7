"""The report as one page: no request leaves it, and whatever clients wrote is shown as text and never as markup."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, StrictUndefined

from chatledger.errors import ConfigurationError
from chatledger_cli.moments import shown
from chatledger_cli.what_if.text import notes

TEMPLATE = "page.html.jinja"
_IN_SCRIPT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What could end the script that JSON stands in, and what older scripts do not take in a text."""


def page(report: Mapping[str, Any], *, now: datetime) -> str:
    """Return the page. `now` is the time that it says it is from."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda number: f"{number:,}"
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    conversations = orjson.dumps(report["conversations"]).decode().translate(_IN_SCRIPT)
    return template.render(
        report=report,
        totals=report["totals"],
        compared_with=report["compared_with"],
        notes=list(notes(report)),
        most=max((each["count"] for each in report["kinds"]), default=1),
        made=shown(now),
        conversations=conversations,
    )


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the page. Raises ConfigurationError where it cannot be written."""
    try:
        path.write_text(page(report, now=datetime.now(UTC)), encoding="utf-8")
    except OSError as wrong:
        raise ConfigurationError(f"--html {path}: cannot be written: {wrong.strerror}") from wrong
