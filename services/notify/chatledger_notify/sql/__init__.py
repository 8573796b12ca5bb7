"""The service's named queries, read from `queries.sql`: `-- name: <name>`, a sentence, and the statement."""

from __future__ import annotations

from collections.abc import Mapping

from chatledger.adapters.sql_files import named_statements


def named_queries() -> Mapping[str, bytes]:
    """Every query of the file by its name."""
    return named_statements(__name__, "queries.sql")
