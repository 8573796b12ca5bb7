"""Named queries: each `.sql` file beside this one holds some, every one under a line `-- name: its_name`."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_queries(file_name: str) -> dict[str, bytes]:
    """Return the queries of one `.sql` file of this package, by name."""
    text = files(__package__ or "chatledger_ledger").joinpath(file_name).read_text("utf-8")
    parts = _NAME.split(text)
    return {name: query.strip().encode() for name, query in zip(parts[1::2], parts[2::2], strict=True)}
