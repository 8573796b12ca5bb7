"""The service's SQL: one statement per file."""

from __future__ import annotations

from chatledger.adapters.sql_files import statement


def query(name: str) -> bytes:
    """Return the statement in `<name>.sql`."""
    return statement(__name__, name)
