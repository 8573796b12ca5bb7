"""How far a service has come in history, from the offsets that it kept: each life of a broker counts its own.

Within a partition history keeps the order of the topic, so what was handled of it is everything up to some position.
That position is what outlives a broker: the next one's offsets are counted from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chatledger.adapters.broker_loss import Lives
from chatledger.adapters.postgres import Connection
from chatledger.events.inbound import DeliveryReported
from chatledger.ports import TopicPartition
from chatledger.topics import DIALOG, INBOUND
from chatledger_ledger.queries import load_queries

INPUTS_AT_ONCE = 1_000

_QUERIES = load_queries("restore.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What was put back on a partition: the events after `after` up to `until`, from `first_offset` on."""

    first_offset: int
    after: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of a broker, as a partition's part of history tells it: recorded after `after`, up to `until`.

    `next_offset` is the recorder's own position in it; `put_back` is None where it began empty.
    """

    incarnation: str
    next_offset: int
    after: int
    until: int
    put_back: PutBack | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLives:
    """Every partition's lives, the oldest first, as they stood at `until`, the last position of the ledger."""

    until: int
    of: Mapping[TopicPartition, Sequence[Life]] = field(default_factory=dict)

    def since(self, incarnations: Mapping[str, object]) -> int:
        """The position after which the first of these lives was recorded; the end where none was."""
        found = [life.after for lives in self.of.values() for life in lives if life.incarnation in incarnations]
        return min(found, default=self.until)


async def read_recorded_lives(connection: Connection) -> RecordedLives:
    """Return every life that the ledger knows of."""
    (until,) = await _row(connection, "last_position", {}) or (0,)
    read: dict[TopicPartition, list[Life]] = {}
    for topic, partition, incarnation, next_offset, after, *put_back in await _rows(connection, "lives", {}):
        lives = read.setdefault(TopicPartition(topic, partition), [])
        if lives:
            lives[-1] = replace(lives[-1], until=after)
        lives.append(
            Life(
                incarnation=incarnation,
                next_offset=next_offset,
                after=after,
                until=until,
                put_back=None
                if put_back[0] is None
                else PutBack(first_offset=put_back[0], after=put_back[1], until=put_back[2]),
            )
        )
    return RecordedLives(until=until, of=read)


async def handled_until(
    connection: Connection, recorded: RecordedLives, lives: Lives, partition: TopicPartition
) -> int | None:
    """Return the position up to which a service has handled a partition; None where it has no part in any life.

    Where it has positions of other partitions only, nothing of this one was handled since it began. Of a partition that
    was never recorded everything is handled.
    """
    if lives and partition not in recorded.of:
        return recorded.until
    for life in reversed(recorded.of.get(partition, ())):
        offset = lives.get(life.incarnation, {}).get(partition)
        if offset is not None:
            return await _handled_in(connection, partition, life, offset)
    return recorded.since(lives) if lives else None


async def decided_until(connection: Connection, recorded: RecordedLives, partition: int) -> int:
    """Return the position up to which the dialog has decided about a partition of chat.inbound.

    Its decisions stand on chat.dialog in the order of its inputs. After the last input that has one in history come
    those that need none, and those that it put aside; from the first that may need one on it has to decide again.
    """
    at = {"topic": INBOUND, "partition": partition}
    decided = 0
    last = await _row(connection, "last_decision", {"topic": DIALOG, "partition": partition})
    if last is not None:
        cause = await _row(connection, "position_of", {"id": last[0]})
        if cause is None:
            # It came after everything of the partition that was recorded.
            return recorded.until
        decided = cause[0]
    while inputs := await _rows(
        connection,
        "inputs_after",
        {**at, "after": decided, "passed_over": DeliveryReported.type, "limit": INPUTS_AT_ONCE},
    ):
        rows = await _rows(connection, "buried_inputs", {"ids": [event_id for _, event_id in inputs]})
        buried = {event_id for (event_id,) in rows}
        for position, event_id in inputs:
            if event_id not in buried:
                return int(position) - 1
        decided = inputs[-1][0]
    return recorded.until


async def _handled_in(connection: Connection, partition: TopicPartition, life: Life, offset: int) -> int:
    """The position that an offset of one life comes to."""
    if offset >= life.next_offset:
        return life.until
    at = {"topic": partition.topic, "partition": partition.partition}
    reached = life.after
    if life.put_back is not None:
        reached = await _handled_of(connection, at, life.put_back, offset)
    bounds = {**at, "after": life.after, "until": life.until, "offset": offset}
    newest = await _row(connection, "newest_below", bounds)
    return reached if newest is None else max(reached, newest[0])


async def _handled_of(connection: Connection, at: Mapping[str, object], put_back: PutBack, offset: int) -> int:
    handled = offset - put_back.first_offset
    if handled <= 0:
        return put_back.after
    bounds = {**at, "after": put_back.after, "until": put_back.until, "skipped": handled - 1}
    last = await _row(connection, "nth", bounds)
    return put_back.until if last is None else int(last[0])


async def _row(connection: Connection, query: str, parameters: Mapping[str, object]) -> tuple[Any, ...] | None:
    return await (await connection.execute(_QUERIES[query], parameters)).fetchone()


async def _rows(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(_QUERIES[query], parameters)).fetchall()
