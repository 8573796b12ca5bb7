"""The SQL of the read model: one statement per file."""

from __future__ import annotations

from chatledger.adapters.sql_files import statement


def query(name: str) -> bytes:
    """Return the statement in `<name>.sql`."""
    return statement(__name__, name)
