"""The service's named queries, read from `queries.sql`: `-- name: <name>`, a sentence, and the statement."""

from __future__ import annotations

from chatledger.adapters.sql_files import named_statements


def query(name: str) -> bytes:
    """Return one statement."""
    return named_statements(__name__, "queries.sql")[name]
