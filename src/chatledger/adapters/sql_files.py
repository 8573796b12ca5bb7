"""Reads the SQL that lies in a package's `.sql` files: one statement a file, or several under their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statement(package: str, name: str) -> bytes:
    """Return the statement in `<name>.sql` of a package."""
    return files(package).joinpath(f"{name}.sql").read_bytes()


@cache
def named_statements(package: str, file_name: str) -> Mapping[str, bytes]:
    """Return the statements of one file of a package, each under a line `-- name: its_name`."""
    parts = _HEAD.split(files(package).joinpath(file_name).read_text("utf-8"))
    return {name: text.strip().encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
