"""Folds history in a process of its own and prints the state hash: `python -m chatledger_ledger.fold_hash POSITION`.

`verify` runs it with another hash seed, to see that the fold depends on nothing but history.
"""

from __future__ import annotations

import asyncio
import os
import sys

from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.ports import Selection
from chatledger.replay import fold_ledger, state_hash


def main() -> None:
    """Print the hash of all states up to the given position of the ledger in CHATLEDGER_DATABASE."""
    print(asyncio.run(_fold(os.environ["CHATLEDGER_DATABASE"], int(sys.argv[1]))))  # noqa: T201  # its only output


async def _fold(database: str, until_position: int) -> str:
    pool = await open_pool(database, connections_max=1, role=ROLE)
    try:
        return state_hash(await fold_ledger(PostgresLedgerReader(pool).read(Selection(until_position=until_position))))
    finally:
        await pool.close()


if __name__ == "__main__":
    main()
