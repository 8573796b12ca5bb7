"""How the tables that the HTTP API shows are made anew from the ledger.

The relay writes them, and stands where its position in the notification log says. An event is in the ledger under its
stream and version, by which its place in the log is found: a row's place is that of its first event there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.beginnings import beginnings
from chatledger.adapters.rebuilding.declared import Making, Rebuildable
from chatledger.adapters.rebuilding.shadow_tables import Table
from chatledger.errors import InvariantViolated
from chatledger.events import orders
from chatledger.events.dialog import OrderCancelled
from chatledger.events.envelope import Envelope
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.topics import BILLING
from chatledger_billing.history import decision_of
from chatledger_billing.numbering import NumbersGiven
from chatledger_billing.projection import project
from chatledger_billing.relay import lay_down
from chatledger_billing.snapshots import follow
from chatledger_billing.sql import query

Places = Mapping[tuple[str, int], int]
"""Where events are in the notification log, by stream and version."""


class RelayStanding:
    """How far the relay has come."""

    def __init__(self) -> None:
        self._position = self._recorded = 0

    def concerns(self, event: LedgerEvent) -> bool:
        """Whether the relay published it."""
        return event.topic == BILLING

    async def mark(self, connection: Connection) -> None:
        """Nothing: places in the log rise in the order of commits."""

    async def look(self, connection: Connection) -> None:
        """Read the relay's position."""
        row = await (await connection.execute(query("read_relay_position"))).fetchone()
        self._position = row[0] if row else 0

    async def handled(self, connection: Connection, events: Sequence[LedgerEvent]) -> list[bool]:
        """Whether each is not beyond the position: what was published a moment ago may not be laid down yet."""
        places = await _places(connection, [event.envelope for event in events])
        return [places[_key(event.envelope)] <= self._position for event in events]

    async def lacking(self, connection: Connection) -> str | None:
        """Count what of the log up to the position was not recorded yet."""
        piece = {"after": self._recorded, "until": self._position, "register": NumbersGiven.type}
        row = await (await connection.execute(query("rebuild_lacking"), piece)).fetchone()
        lacking = row[0] if row else 0
        if lacking:
            return f"it lacks {lacking:,} events that billing decided"
        self._recorded = self._position
        return None


async def apply(connection: Connection, events: Sequence[LedgerEvent]) -> None:
    """Lay down what events led to, as the relay does."""
    envelopes = [event.envelope for event in events]
    places = await _places(connection, [each for each in envelopes if each.stream_version == 1])
    earlier = await beginnings(connection, envelopes)
    # The place of an event that is not its stream's first counts for nothing: the row is there.
    log = [(places.get((each.stream, 1), 0), decision_of(each)) for each in envelopes]
    followed = follow(log, lambda stream, until: [decision_of(each) for each in earlier[stream]])
    await lay_down(connection, project(followed))


async def _places(connection: Connection, envelopes: Sequence[Envelope]) -> Places:
    """Find events in the log. Raises InvariantViolated where one is not there."""
    if not envelopes:
        return {}
    keys = [_key(each) for each in envelopes]
    wanted = {"streams": [stream for stream, _ in keys], "versions": [version for _, version in keys]}
    rows = await connection.execute(query("rebuild_places"), wanted)
    places = {(stream, version): place for stream, version, place in await rows.fetchall()}
    missing = next((key for key in keys if key not in places), None)
    if missing is not None:
        raise InvariantViolated(
            f"the ledger has version {missing[1]} of {missing[0]}, which billing's own events do not: they are not of"
            " one history, and the orders and invoices are left as they are"
        )
    return places


def _key(envelope: Envelope) -> tuple[str, int]:
    return envelope.stream, _version(envelope)


def _version(envelope: Envelope) -> int:
    return cast("int", envelope.stream_version)


def _begin(projects: Mapping[str, Project]) -> Making:
    return Making(standings=(RelayStanding(),), apply=apply)


REBUILDABLES = (
    Rebuildable(
        name="billing.orders",
        sentence="Orders and invoices, as the HTTP API shows them; made by billing's relay.",
        service="billing",
        schema="billing",
        tables=(Table(name="orders"), Table(name="invoices")),
        types=(*(each.type for each in orders.EVENTS), OrderCancelled.type),
        begin=_begin,
    ),
)
