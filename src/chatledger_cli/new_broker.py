"""What `chatledger up` does where the broker is new to the ledger: it puts back what services need to go on.

That is the dialog's changelog, everything that some service has not handled, and positions to match: little, however
long history is. All of history on the topics is for `chatledger restore`, before.

Topics that hold much already are those of a broker that went by another name: services read them from the beginning.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg

from chatledger.adapters.embedded_broker import RETAINED_BYTES_PER_PARTITION
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import open_pool
from chatledger.adapters.table_versions import read_live_table
from chatledger.errors import OutsideUnavailable
from chatledger_cli.backends import Backends
from chatledger_cli.restoring import Place, Restored, Watch, restore
from chatledger_cli.supervisor import Say
from chatledger_ledger.rebuild import rebuild_dialog
from chatledger_ledger.restore_broker import standings
from chatledger_ledger.restore_plan import EVERYWHERE, Wanted

# History without any record of this broker: its topics cannot have what of that history is still to be handled.
IS_NEW_TO_HISTORY: LiteralString = """
SELECT EXISTS (SELECT FROM ledger.events)
   AND NOT EXISTS (SELECT FROM ledger.positions WHERE incarnation = %(incarnation)s)
    OR EXISTS (SELECT FROM ledger.restores WHERE incarnation = %(incarnation)s AND finished_at IS NULL)
"""
IS_BEGUN: LiteralString = "SELECT EXISTS (SELECT FROM ledger.restores WHERE incarnation = %(incarnation)s)"
DISPLACED_MAX = 10_000
"""So many records may have come to a new broker before its services did; they are put behind what is put back."""
EMBEDDED_BYTES_MAX = RETAINED_BYTES_PER_PARTITION * 3 // 4
"""An embedded broker drops what is beyond its bound, and a record takes more there than in the ledger."""


async def meet_broker(place: Place, backends: Backends, say: Say) -> None:
    """Put back what is needed on a broker that is new to the ledger, or go on with a restore that was cut off.

    Raises OutsideUnavailable, ConfigurationError. Must run before the services start.
    """
    if not await _is_new(place):
        return
    ends = {at: standing.end for at, standing in (await standings(place.broker, EVERYWHERE)).items() if standing.end}
    if sum(ends.values()) > DISPLACED_MAX and not await _is_begun(place):
        count = await _rebuild_table(place)
        say(f"{count} conversations put back from the ledger; the topics are read from their beginning")
        return
    restored = await restore(
        place,
        Wanted(only_unhandled=True, bytes_max=EMBEDDED_BYTES_MAX if backends.broker_is_embedded else None),
        watch=Watch(begin=lambda part, rows: say(f"putting back {rows:,} events") if rows else None),
        all_history=False,
        must_be_alone=False,
        ends=ends,
    )
    _say(restored, say)


def _say(restored: Restored, say: Say) -> None:
    if restored.conversations:
        say(f"{restored.conversations} conversations put back from the ledger: this broker is new to it")
    if restored.refilled.events:
        say(f"{restored.refilled.events} events put back on their topics: not every service had handled them")
    if restored.again:
        again = ", ".join(f"{count} of {name}" for name, count in restored.again.items())
        say(f"events of the lost broker that were not recorded are published again: {again}")
    if restored.lost:
        say(f"{restored.lost} events were lost with the last broker: see record.lost in the ledger, docs/recovery.md")


async def _rebuild_table(place: Place) -> int:
    pool = await open_pool(place.database, connections_max=1, role=ROLE)
    try:
        producer = await start_producer(place.broker, linger_ms=5)
        try:
            reader, publisher = PostgresLedgerReader(pool), KafkaPublisher(producer)
            live = await read_live_table(place.broker)
            return await rebuild_dialog(reader, publisher.publish_raw, topic=live.changelog)
        finally:
            await producer.stop()
    finally:
        await pool.close()


async def _is_new(place: Place) -> bool:
    return await _asked(place, IS_NEW_TO_HISTORY)


async def _is_begun(place: Place) -> bool:
    return await _asked(place, IS_BEGUN)


async def _asked(place: Place, query: LiteralString) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(place.database) as connection:
            row = await (await connection.execute(query, {"incarnation": place.incarnation})).fetchone()
    except psycopg.Error as wrong:
        raise OutsideUnavailable(f"the ledger does not answer: {wrong}") from wrong
    return bool(row and row[0])
