"""The service's named queries, read from `queries.sql`: `-- name: <name>`, a sentence, and the statement."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString, cast

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def named_queries() -> dict[str, LiteralString]:
    """Every query of the file by its name. The file is part of the program, so its text counts as literal."""
    parts = _HEAD.split(files(__name__).joinpath("queries.sql").read_text("utf-8"))
    return {name: cast(LiteralString, text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
