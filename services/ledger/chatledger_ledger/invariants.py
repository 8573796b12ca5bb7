"""The invariants that the ledger alone can show, each one function and mostly one query over the whole history.

I3 belongs to a tailer that runs during chaos, so it is not here. What needs the broker too is in `broker_invariants`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from psycopg import errors

from chatledger.adapters.postgres import Connection
from chatledger.replay import States, state_hash
from chatledger_ledger.findings import DeadLetters, Finding, finding_of, joined
from chatledger_ledger.queries import load_queries

I1 = "every acknowledged event is in the ledger exactly once"
I2 = "what was decided has its cause in the ledger"
I4 = "versions are 1..n without a gap"
I5 = "the live dialog table is the fold of history, in any process"
I6 = "one invoice for each order with a price, numbers without a gap, sums and payments right"
I7 = "each requested message ended exactly once, went forward only, and was wanted"

QUERIES = {
    **load_queries("invariants.sql"),
    **load_queries("invoice_invariants.sql"),
    **load_queries("message_invariants.sql"),
}
INVOICE_QUERIES = ("invoices", "invoice_sums", "invoice_taxes", "invoice_numbers", "payments", "cancelled_orders")
MESSAGE_QUERIES = ("statuses", "campaigns", "promotions")


async def acknowledged_are_recorded(connection: Connection, ids: Sequence[str] | None) -> Finding:
    """I1 against a list of acknowledged event ids. That none is there twice is the table's unique(id)."""
    if ids is None:
        return finding_of("I1", I1, checked=0, complaints=[], note="no list of acknowledged events was given")
    return await _ask(connection, "acknowledged", "I1", I1, {"ids": sorted(set(ids))})


async def effects_have_causes(connection: Connection) -> Finding:
    """I2: nothing is decided because of something that nobody sent. What was lost with a broker is said in the note."""
    finding = await _ask(connection, "causes", "I2", I2)
    row = await (await connection.execute(QUERIES["lost"])).fetchone()
    lost = row[0] if row else 0
    return replace(finding, note=f"{lost} causes were lost with their broker: docs/recovery.md") if lost else finding


async def versions_have_no_gap(connection: Connection) -> Finding:
    """I4, in the order of positions: a version that comes too late is a violation as well."""
    return await _ask(connection, "versions", "I4", I4)


async def invoices_are_right(connection: Connection) -> Finding:
    """I6."""
    return joined("I6", I6, [await _ask(connection, query, "I6", I6) for query in INVOICE_QUERIES])


async def messages_have_ended(connection: Connection) -> Finding:
    """I7. What notify still means to send is no violation, and is said in the note."""
    waiting = await _waiting_messages(connection)
    ended = await _ask(connection, "messages", "I7", I7, {"waiting": waiting})
    if waiting:
        ended = replace(ended, note=f"{len(waiting)} are still waiting to be sent")
    return joined("I7", I7, [ended, *[await _ask(connection, query, "I7", I7) for query in MESSAGE_QUERIES]])


async def folds_agree(database: str, states: States, *, until_position: int) -> Finding:
    """I5, first half: this process and one with another hash seed fold history to the same bytes."""
    here, there = state_hash(states), await _hash_in_another_process(database, until_position)
    complaints = [] if here == there else [f"this process folds history to {here}, another one to {there}"]
    return finding_of("I5", I5, checked=len(states), complaints=complaints)


async def count_unfinished(connection: Connection) -> int:
    """How much is still on its way, about: messages, invoices, reports. It is for waiting, not for judging."""
    row = await (await connection.execute(QUERIES["unfinished"])).fetchone()
    assert row is not None
    return int(row[0])


async def dead_letters(connection: Connection) -> tuple[DeadLetters, ...]:
    """The dead letters of all services, by service and reason; the ten most frequent."""
    rows = await (await connection.execute(QUERIES["dead_letters"])).fetchall()
    return tuple(DeadLetters(service=service, reason=reason, count=count) for service, reason, count in rows)


async def _ask(
    connection: Connection, query: str, name: str, title: str, parameters: Mapping[str, object] | None = None
) -> Finding:
    row = await (await connection.execute(QUERIES[query], parameters or {})).fetchone()
    assert row is not None
    checked, violations, examples = row
    return Finding(name=name, title=title, checked=checked, violations=violations, examples=tuple(examples))


async def _waiting_messages(connection: Connection) -> list[str]:
    try:
        async with connection.transaction():
            # Notify's tables are not the reader's to see; whoever logged in may be allowed to.
            await connection.execute("SET LOCAL ROLE NONE")
            rows = await (await connection.execute(QUERIES["waiting_messages"])).fetchall()
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        return []
    return [delivery_id for (delivery_id,) in rows]


async def _hash_in_another_process(database: str, until_position: int) -> str:
    """Return the state hash that a new process comes to, or what went wrong there."""
    other_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatledger_ledger.fold_hash", str(until_position)),
        # The path keeps what this process can import; nothing else of the environment is handed on, no token either.
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": other_seed,
            "CHATLEDGER_DATABASE": database,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return out.decode().strip() or f"nothing ({err.decode().strip().splitlines()[-1:]})"
