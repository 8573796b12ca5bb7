"""The dialog's changelog, written anew from the ledger where a broker has never been recorded from."""

from __future__ import annotations

import psycopg

from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.errors import OutsideUnavailable
from chatledger_cli.backends import Backends
from chatledger_ledger.rebuild import rebuild_dialog

# History without any record of this broker: its changelog cannot have the conversations of that history.
IS_NEW_TO_HISTORY = """
SELECT EXISTS (SELECT FROM ledger.events)
   AND NOT EXISTS (SELECT FROM ledger.positions WHERE incarnation = %s)
"""


async def rebuild_where_needed(backends: Backends) -> int:
    """Write the changelog anew for a broker that is new to the ledger; return for how many conversations.

    Raises OutsideUnavailable. Must run before the dialog starts.
    """
    try:
        async with await psycopg.AsyncConnection.connect(backends.database) as connection:
            row = await (await connection.execute(IS_NEW_TO_HISTORY, (backends.incarnation,))).fetchone()
    except psycopg.Error as wrong:
        raise OutsideUnavailable(f"the ledger does not answer: {wrong}") from wrong
    if row is None or not row[0]:
        return 0
    producer = await start_producer(backends.broker, linger_ms=5)
    pool = await open_pool(backends.database, connections_max=1, role=ROLE)
    try:
        return await rebuild_dialog(PostgresLedgerReader(pool), KafkaPublisher(producer).publish_raw)
    finally:
        await pool.close()
        await producer.stop()
