"""Named queries: each `.sql` file beside this one holds some, every one under a line `-- name: its_name`."""

from __future__ import annotations

from collections.abc import Mapping

from chatledger.adapters.sql_files import named_statements


def load_queries(file_name: str) -> Mapping[str, bytes]:
    """Return the queries of one `.sql` file of this package, by name."""
    return named_statements(__package__ or "chatledger_ledger", file_name)
