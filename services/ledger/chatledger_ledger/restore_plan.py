"""What a restore puts back on which partition, and how far each service has come in it. Positions are the ledger's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chatledger.adapters.broker_loss import Lives, ServiceAtLoss
from chatledger.adapters.postgres import Connection
from chatledger.ports import Positions, TopicPartition
from chatledger.topics import ALL, INBOUND, PARTITIONS
from chatledger_ledger.lives import RecordedLives, decided_until, handled_until, read_recorded_lives
from chatledger_ledger.queries import load_queries

DIALOG = "dialog"
"""The service whose positions are its group's commits."""
LEDGER = "ledger"
"""The service that has come to the end of history by definition."""
EVERYWHERE = tuple(TopicPartition(topic, number) for topic in ALL for number in range(PARTITIONS))

_OWN = ServiceAtLoss(name=LEDGER, topics=ALL)
_QUERIES = load_queries("restore.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much of history is to be on the topics: what was recorded since a time, or else all of it.

    What some service has not handled is put back in any case; with `only_unhandled` nothing else is. With
    `bytes_max`, about so much of each partition at most, the newest.
    """

    since: datetime | None = None
    only_unhandled: bool = False
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """Events after `after`, up to `until`, go to their partitions; `handled` says by service how far each has come.

    A service that has no place in `handled` of a partition was never there, and begins at its beginning.
    """

    incarnation: str
    until: int
    after: Mapping[TopicPartition, int]
    first_offsets: Mapping[TopicPartition, int]
    handled: Mapping[str, Mapping[TopicPartition, int]]

    def handled_by_all(self, partition: TopicPartition) -> int:
        """The position up to which every service that reads this partition has handled it."""
        return min((each[partition] for each in self.handled.values() if partition in each), default=self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRestore:
    """A restore of this broker that was begun: its bounds, and how far it came."""

    until: int
    after: Mapping[TopicPartition, int]
    first_offsets: Mapping[TopicPartition, int]
    started_at: datetime
    is_refilled: bool
    is_finished: bool


async def find_started(connection: Connection, incarnation: str) -> StartedRestore | None:
    """Return the restore of this broker, None where none was begun."""
    rows = await connection.execute(_QUERIES["started_restore"], {"incarnation": incarnation})
    found = {TopicPartition(row[0], row[1]): row for row in await rows.fetchall()}
    if not found:
        return None
    first = next(iter(found.values()))
    return StartedRestore(
        until=first[4],
        after={at: row[3] for at, row in found.items()},
        first_offsets={at: row[2] for at, row in found.items()},
        started_at=first[5],
        is_refilled=first[6] is not None,
        is_finished=first[7] is not None,
    )


async def was_recorded_from(connection: Connection, incarnation: str) -> bool:
    """Whether the ledger has positions in this life of the broker: its services have worked, or it was restored."""
    row = await (await connection.execute(_QUERIES["has_positions"], {"incarnation": incarnation})).fetchone()
    return bool(row and row[0])


async def make_plan(
    connection: Connection,
    services: Mapping[str, tuple[tuple[str, ...], Lives]],
    *,
    incarnation: str,
    wanted: Wanted,
    started: StartedRestore | None = None,
    ends: Positions | None = None,
) -> RestorePlan:
    """Return what to do. `services` are those with tables, but for the ledger: their topics and their positions.

    A restore that was `started` keeps its bounds. `ends` are those of partitions that are not empty.
    """
    recorded = await read_recorded_lives(connection)
    handled = await _handled(connection, recorded, services)
    handled[LEDGER] = dict.fromkeys(EVERYWHERE, recorded.until)
    until = recorded.until if started is None else started.until
    plan = RestorePlan(
        incarnation=incarnation,
        until=until,
        after=dict.fromkeys(EVERYWHERE, 0) if started is None else started.after,
        first_offsets={at: (ends or {}).get(at, 0) for at in EVERYWHERE} if started is None else started.first_offsets,
        handled=handled,
    )
    if started is not None:
        return plan
    after = await _bounds(connection, plan, wanted)
    return RestorePlan(
        incarnation=incarnation, until=until, after=after, first_offsets=plan.first_offsets, handled=handled
    )


async def start(connection: Connection, plan: RestorePlan) -> None:
    """Note the plan, so that one that was cut off goes on with the same bounds."""
    columns = {
        "incarnation": plan.incarnation,
        "until_position": plan.until,
        "topics": [at.topic for at in EVERYWHERE],
        "partitions": [at.partition for at in EVERYWHERE],
        "first_offsets": [plan.first_offsets[at] for at in EVERYWHERE],
        "after_positions": [plan.after[at] for at in EVERYWHERE],
    }
    await connection.execute(_QUERIES["start_restore"], columns)


async def begin_ledger(connection: Connection, incarnation: str, ends: Positions) -> None:
    """Set the ledger's own positions in a new life of the broker, within the caller's transaction."""
    await connection.execute(_QUERIES["lock"])
    await _OWN.begin_life(connection, incarnation, ends)


async def note(connection: Connection, incarnation: str, *, finished: bool) -> None:
    """Note that the topics are full, or, with `finished`, that everything is done."""
    query = "note_finished" if finished else "note_refilled"
    await connection.execute(_QUERIES[query], {"incarnation": incarnation})


async def _handled(
    connection: Connection, recorded: RecordedLives, services: Mapping[str, tuple[tuple[str, ...], Lives]]
) -> dict[str, dict[TopicPartition, int]]:
    inputs = {number: await decided_until(connection, recorded, number) for number in range(PARTITIONS)}
    handled = {DIALOG: {TopicPartition(INBOUND, number): position for number, position in inputs.items()}}
    for name, (topics, lives) in services.items():
        handled[name] = {}
        for at in EVERYWHERE:
            position = await handled_until(connection, recorded, lives, at) if at.topic in topics else None
            if position is not None:
                handled[name][at] = position
    return handled


async def _bounds(connection: Connection, plan: RestorePlan, wanted: Wanted) -> dict[TopicPartition, int]:
    if wanted.since is None and not wanted.only_unhandled:
        return dict.fromkeys(EVERYWHERE, 0)
    first = plan.until
    if wanted.since is not None:
        row = await (await connection.execute(_QUERIES["position_before"], {"time": wanted.since})).fetchone()
        assert row is not None
        first = int(row[0])
    after = {at: min(first, plan.handled_by_all(at)) for at in EVERYWHERE}
    if wanted.bytes_max is not None and min(after.values()) < plan.until:
        bounds = {"after": min(after.values()), "bytes_max": wanted.bytes_max}
        for topic, partition, position in await (await connection.execute(_QUERIES["beyond_bytes"], bounds)).fetchall():
            at = TopicPartition(topic, partition)
            if at in after:
                after[at] = max(after[at], position)
    return after
