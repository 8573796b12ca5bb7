"""Time travel: what was known of a conversation, an order, an invoice or a client at a moment, and what changed since.

Everything is folded from the ledger's own events when it is asked for, by the fold that made the live state. Nothing
here walks through history: streams are found by the index on their names.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import record_of_row
from chatledger.adapters.postgres import Connection, Pool
from chatledger.adapters.sql_files import named_statements
from chatledger.errors import OutsideUnavailable
from chatledger.events.envelope import is_conversation
from chatledger.ports import LedgerEvent
from chatledger.replay import passed_over
from chatledger_ledger.differences import Change, Step, changes, steps
from chatledger_ledger.kinds import CLIENT, ClientFold, Fold, Kind, Shown, StreamFold
from chatledger_ledger.moments import NOW, Moment

STREAMS_LIKE_IT_MAX = 20
"""As many are looked at to find what a number, or the beginning of an id, may mean."""

FindNumber = Callable[[str, str, str | None], Awaitable[Sequence[str]]]
"""Takes a kind's name, a number and a project, or None for all; returns the ids that have the number."""
POSITION_MAX = 2**63 - 1
"""No ledger has more; what is asked for beyond it means the end."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUERIES = named_statements("chatledger_ledger", "time_travel.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where something was first recorded."""

    position: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was known of one thing at a moment.

    `last_event` is the newest event that it holds, None where nothing was known then: `state` is what the kind shows
    before its first event. `events` counts them, and `passed_over` those among them that this code does not know, by
    type and version.
    """

    kind: str
    id: str
    state: Shown | None
    events: int
    first: Beginning
    last_event: LedgerEvent | None
    passed_over: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseOf:
    """What an event was caused by; `type` and `position` are None where that is not in the ledger."""

    id: str
    type: str | None
    position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedStep:
    """One event that changed something, the fields that it changed, and its cause."""

    step: Step
    cause: CauseOf | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How one thing differs between two moments, and the events that made it so, in their order."""

    before: Known
    after: Known
    changes: list[Change]
    steps: list[ExplainedStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationEntry:
    """A conversation in a list."""

    id: str
    events: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    last_position: int


class TimeTravel:
    """Asks the ledger about the past. `kinds`: the conversation first, then what conversations name.

    `numbers` finds ids by a number that tells nothing of them. With `project` only that project's history is there.
    Whatever asks Postgres raises OutsideUnavailable.
    """

    def __init__(self, pool: Pool, kinds: Sequence[Kind], *, numbers: FindNumber | None = None) -> None:
        self._pool, self.kinds, self._numbers = pool, kinds, numbers or _no_number

    def kind(self, name: str) -> Kind:
        """Return a kind by its name. Raises KeyError; a client is no kind."""
        return {kind.name: kind for kind in self.kinds}[name]

    async def state(self, kind: str, id: str, moment: Moment = NOW, *, project: str | None = None) -> Known | None:
        """Return what was known at a moment, None where the ledger knows no such thing at all.

        Raises InvariantViolated where what was recorded cannot have happened.
        """
        streams, events = await self._events_of(kind, id, moment, project)
        return await self._known(kind, id, streams, events, project)

    async def difference(
        self, kind: str, id: str, start: Moment, end: Moment = NOW, *, project: str | None = None
    ) -> Difference | None:
        """Return what changed from one moment to a later one, None where the ledger knows no such thing at all.

        Raises InvariantViolated where what was recorded cannot have happened.
        """
        end = await self._settled(end)
        before = await self.state(kind, id, start, project=project)
        streams, events = await self._events_of(kind, id, end, project)
        after = await self._known(kind, id, streams, events, project)
        if before is None or after is None:
            return None
        fold = self._folded(kind, (event for event in events if start.includes(event)))
        made = steps(fold, (event for event in events if not start.includes(event)))
        return Difference(
            before=before,
            after=after,
            changes=changes(before.state, after.state),
            steps=await self._explained(made),
        )

    async def find(self, kind: str, text: str, *, project: str | None = None) -> list[str]:
        """Return the ids of what is called `text`: itself, or whatever has it as its number. None is none."""
        owner = self.kind(kind)
        if await self._first([owner.stream(text)], project):
            return [text]
        prefix = owner.id_prefix(text)
        meant = await self.beginning_with(kind, prefix) if prefix else await self._numbers(kind, text, project)
        return [each for each in meant if await self._first([owner.stream(each)], project)]

    async def beginning_with(self, kind: str, text: str) -> list[str]:
        """Return some ids of a kind that begin with `text`, in their order."""
        owner = self.kind(kind)
        rows = await self._rows("streams_from", {"prefix": owner.stream(text), "limit": STREAMS_LIKE_IT_MAX})
        return [stream.removeprefix(owner.prefix) for (stream,) in rows]

    async def conversations(
        self, *, after: str | None, limit: int, project: str | None = None
    ) -> list[ConversationEntry]:
        """Return conversations in the order of their ids, those that follow `after`."""
        prefix = self.kinds[0].prefix + ("" if project is None else f"{project}/")
        follow = prefix if after is None else self.kinds[0].stream(after)
        rows = await self._rows("page_of_conversations", {"prefix": prefix, "after": follow, "limit": limit})
        return [
            ConversationEntry(
                id=name, events=events, first_recorded_at=first, last_recorded_at=last, last_position=position
            )
            for name, events, first, last, position in rows
        ]

    async def stream_page(
        self, stream: str, *, after: int, limit: int, project: str | None = None
    ) -> list[LedgerEvent]:
        """Return the events of one stream that follow a position."""
        wanted = {"stream": stream, "after": after, "limit": limit, "project": project}
        return _events(await self._rows("page_of_stream", wanted))

    async def _events_of(
        self, kind: str, id: str, moment: Moment, project: str | None
    ) -> tuple[list[str], list[LedgerEvent]]:
        """The streams of one thing, as far as they were known then, and their events up to then."""
        if kind != CLIENT:
            streams = [self.kind(kind).stream(id)]
            return streams, await self._read(streams, moment, project)
        moment = await self._settled(moment)
        streams = await self._streams_of_client(id, project)
        events = await self._read(streams, moment, project)
        named = {
            self.kind(other.kind).stream(other.id) for event in events for other in self.kinds[0].names(event.envelope)
        }
        of_others = await self._read(sorted(named), moment, project) if named else []
        return streams, sorted([*events, *of_others], key=lambda event: event.position)

    async def _streams_of_client(self, id: str, project: str | None) -> list[str]:
        """Every stream that a client's conversations may have; `id` is the client's, project/client or a whole one."""
        owner, (first, _, rest) = self.kinds[0], id.partition("/")
        channels = [each for (each,) in await self._rows("channels", {})]
        candidates = [f"{channel}/{id}" for channel in channels]
        candidates += [f"{channel}/{rest}" for channel in channels if rest and channel.startswith(f"{first}/")]
        if is_conversation(id):
            candidates.append(id)
        own = (each for each in candidates if project is None or each.startswith(f"{project}/"))
        return [owner.stream(each) for each in own]

    async def _known(
        self, kind: str, id: str, streams: Sequence[str], events: Sequence[LedgerEvent], project: str | None
    ) -> Known | None:
        first = Beginning(position=events[0].position, recorded_at=events[0].recorded_at) if events else None
        first = first or await self._first(streams, project)
        if first is None:
            return None
        return Known(
            kind=kind,
            id=id,
            state=self._folded(kind, events).shown(),
            events=len(events),
            first=first,
            last_event=events[-1] if events else None,
            passed_over=passed_over(event.envelope for event in events),
        )

    def _folded(self, kind: str, events: Iterable[LedgerEvent]) -> Fold:
        fold: Fold = ClientFold(self.kinds) if kind == CLIENT else StreamFold(self.kind(kind))
        for event in events:
            fold.add(event.envelope)
        return fold

    async def _explained(self, made: Sequence[Step]) -> list[ExplainedStep]:
        named = {step.event.envelope.causation_id or "" for step in made}
        ids = [each for each in named if _UUID.fullmatch(each)]
        rows = await self._rows("what_they_are", {"ids": ids}) if ids else []
        known = {each: CauseOf(id=each, type=type_name, position=position) for each, type_name, position in rows}
        return [ExplainedStep(step=step, cause=_cause(step.event.envelope.causation_id, known)) for step in made]

    async def _settled(self, moment: Moment) -> Moment:
        """The same moment, bounded by what is recorded now: so that several questions have one answer."""
        ((last,),) = await self._rows("last_position", {})
        return Moment(position=last if moment.position is None else min(moment.position, last), time=moment.time)

    async def _first(self, streams: Sequence[str], project: str | None) -> Beginning | None:
        rows = await self._rows("first_of_streams", {"streams": list(streams), "project": project})
        return next((Beginning(position=position, recorded_at=at) for position, at in rows), None)

    async def _read(self, streams: Sequence[str], moment: Moment, project: str | None) -> list[LedgerEvent]:
        position = None if moment.position is None else min(moment.position, POSITION_MAX)
        bounds = {"until_position": position, "until_time": moment.time, "project": project}
        return _events(await self._rows("read_streams", {"streams": list(streams), **bounds}))

    async def _rows(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with _answering(self._pool) as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(_QUERIES[query], parameters)
            return await cursor.fetchall()


@asynccontextmanager
async def _answering(pool: Pool) -> AsyncIterator[Connection]:
    try:
        async with pool.connection() as connection:
            yield connection
    except (psycopg.OperationalError, PoolTimeout) as wrong:
        raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong


async def _no_number(kind: str, number: str, project: str | None) -> Sequence[str]:
    return ()


def _events(rows: Sequence[tuple[Any, ...]]) -> list[LedgerEvent]:
    kept = map(record_of_row, rows)
    return [ledger_event(each.record, position=each.position, recorded_at=each.recorded_at) for each in kept]


def _cause(id: str | None, known: dict[str, CauseOf]) -> CauseOf | None:
    return None if id is None else known.get(id, CauseOf(id=id, type=None, position=None))
