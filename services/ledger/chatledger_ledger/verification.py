"""`verify`: every invariant in turn, over one moment of the ledger, with or without the broker beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from chatledger import topics
from chatledger.adapters.kafka import cluster_id
from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.postgres import Pool, open_pool
from chatledger.ports import Positions, Selection, TopicPartition
from chatledger.replay import fold_ledger, state_hash
from chatledger_ledger import invariants
from chatledger_ledger.broker_invariants import (
    I8,
    Extents,
    inbound_is_recorded,
    positions_are_at_the_ends,
    table_is_the_fold,
)
from chatledger_ledger.broker_view import BrokerView, DialogTable, open_broker_view
from chatledger_ledger.findings import Finding, Report, finding_of, joined

SETTLE_PAUSE_S = 0.25
NO_BROKER = "no broker was asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is, and which life of it; `incarnation` None: its cluster id."""

    bootstrap_servers: str
    incarnation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _BrokerSide:
    """What the broker said, at one moment, and how far the ledger says it has come."""

    extents: Extents
    positions: Positions
    table: DialogTable


async def verify(
    database: str,
    *,
    broker: BrokerAddress | None = None,
    acknowledged: Sequence[str] | None = None,
    settle_s: float = 0.0,
) -> Report:
    """Check every invariant that applies, and return what was found.

    With `settle_s` it first waits, at most so long, until nothing is on its way any more. Raises OutsideUnavailable.
    """
    pool = await open_pool(database, connections_max=2, role=ROLE)
    try:
        side = None
        if broker is not None:
            async with open_broker_view(broker.bootstrap_servers) as view:
                side = await _ask_broker(pool, view, broker, settle_s)
        elif settle_s:
            await _settle(pool, settle_s)
        return await _report(pool, database, side, acknowledged)
    finally:
        await pool.close()


async def _report(pool: Pool, database: str, side: _BrokerSide | None, acknowledged: Sequence[str] | None) -> Report:
    reader = PostgresLedgerReader(pool)
    last = await reader.last_position()
    states = await fold_ledger(reader.read(Selection(until_position=last)))
    async with pool.connection() as connection:
        findings = (
            _with_broker(
                await invariants.acknowledged_are_recorded(connection, acknowledged),
                None if side is None else inbound_is_recorded(side.extents, side.positions),
            ),
            await invariants.effects_have_causes(connection),
            await invariants.versions_have_no_gap(connection),
            _with_broker(
                await invariants.folds_agree(database, states, until_position=last),
                None if side is None else table_is_the_fold(side.table, states),
            ),
            await invariants.invoices_are_right(connection),
            await invariants.messages_have_ended(connection),
            finding_of("I8", I8, checked=0, complaints=[], note=NO_BROKER)
            if side is None
            else positions_are_at_the_ends(side.extents, side.positions),
        )
        dead = await invariants.dead_letters(connection)
    return Report(
        events=await reader.count(Selection(until_position=last)),
        state_hash=state_hash(states),
        findings=findings,
        dead_letters=dead,
    )


def _with_broker(alone: Finding, beside: Finding | None) -> Finding:
    """Join what the ledger shows alone with what the broker shows beside it."""
    missing = finding_of(alone.name, alone.title, checked=0, complaints=[], note=NO_BROKER)
    return joined(alone.name, alone.title, [alone, beside or missing])


async def _ask_broker(pool: Pool, view: BrokerView, broker: BrokerAddress, settle_s: float) -> _BrokerSide:
    incarnation = broker.incarnation or await cluster_id(broker.bootstrap_servers)
    if settle_s:
        await _settle(pool, settle_s, view, incarnation)
    # The positions first: what is recorded in between is then no position above an end.
    positions = await _positions(pool, incarnation)
    extents = await view.extents(topics.ALL)
    return _BrokerSide(extents=extents, positions=positions, table=await view.dialog_table())


async def _positions(pool: Pool, incarnation: str) -> Positions:
    async with pool.connection() as connection:
        rows = await connection.execute(invariants.QUERIES["positions"], {"incarnation": incarnation})
        return {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}


async def _settle(pool: Pool, timeout_s: float, view: BrokerView | None = None, incarnation: str = "") -> None:
    """Wait until nothing is on its way and the ledger has stood still between two looks, or the time is over."""
    deadline, seen = time.monotonic() + timeout_s, -1
    while time.monotonic() < deadline:
        async with pool.connection() as connection:
            unfinished = await invariants.count_unfinished(connection)
        lag = 0
        if view is not None:
            extents, positions = await view.extents(topics.ALL), await _positions(pool, incarnation)
            lag = sum(max(0, extent.end - positions.get(at, 0)) for at, extent in extents.items())
            lag += await view.dialog_lag(extents)
        last = await PostgresLedgerReader(pool).last_position()
        if unfinished <= 0 and lag == 0 and last == seen:
            return
        seen = last
        await asyncio.sleep(SETTLE_PAUSE_S)
