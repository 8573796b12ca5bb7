"""The SQL of the API keys, one statement per file, and the reader of these files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def query(name: str) -> bytes:
    """Return the statement in `<name>.sql`."""
    return files(__name__).joinpath(f"{name}.sql").read_bytes()
