"""The service's named queries, read from `queries.sql`: `-- name: <name>`, a sentence, and the statement."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def query(name: str) -> bytes:
    """Return one statement."""
    return _queries()[name]


@cache
def _queries() -> dict[str, bytes]:
    parts = _HEAD.split(files(__name__).joinpath("queries.sql").read_text("utf-8"))
    return {name: text.encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
