"""What the outside must offer: protocols, and the values that pass through them. Adapters implement them.

Everything that touches the outside is async; a failure that a later try may mend is an OutsideUnavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Protocol

from chatledger.events.codec import Headers, type_and_version
from chatledger.events.envelope import Envelope, project_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedRecord:
    """A record as read from a topic: where it stood, and its bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic."""

    topic: str
    partition: int


Positions = Mapping[TopicPartition, int]
"""The next offset to read, by partition. Absent means: from the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent:
    """One row of the ledger: the envelope, and where and when it was recorded."""

    position: int
    recorded_at: datetime
    topic: str
    partition: int
    source_offset: int
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of history is meant; what is None or empty does not bound.

    `after` is a position that is left out, `until_position` one that is the last. Times are recorded times and belong
    to it, both. In `types` a star stands for anything, as in `order.*`. `project` is the first part of the
    conversation, or of whatever else is the event's subject.
    """

    after: int = 0
    until_position: int | None = None
    since_time: datetime | None = None
    until_time: datetime | None = None
    stream: str | None = None
    types: tuple[str, ...] = ()
    project: str | None = None

    def includes(self, event: LedgerEvent) -> bool:
        """Whether `event` is selected."""
        envelope = event.envelope
        return (
            event.position > self.after
            and (self.until_position is None or event.position <= self.until_position)
            and (self.since_time is None or event.recorded_at >= self.since_time)
            and (self.until_time is None or event.recorded_at <= self.until_time)
            and self.stream in (None, envelope.stream)
            and (not self.types or self._includes_type(type_and_version(envelope.data)[0]))
            and self.project in (None, project_of(envelope.conversation))
        )

    def _includes_type(self, type_name: str) -> bool:
        # The star is the only sign that means something else than itself.
        return any(fnmatchcase(type_name, wanted.replace("[", "[[]").replace("?", "[?]")) for wanted in self.types)


EVERYTHING = Selection()


class Clock(Protocol):
    """Tells the time at the edges."""

    def now(self) -> datetime:
        """The time now, in UTC."""
        ...


class Publisher(Protocol):
    """Puts events on topics."""

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Return when the broker has all of them (acks=all). Raises BrokerUnavailable in bounded time.

        Envelopes of one conversation keep their order; after an error some may be there all the same.
        """
        ...


class PositionStore(Protocol):
    """Knows how far a consumer's effects have come, so that reading starts there."""

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions` in this incarnation of the broker."""
        ...


class Subscription(Protocol):
    """Reads topics as a member of a group. Positions are the effect's own, so nothing is committed to the broker."""

    def batches(self) -> AsyncIterator[Sequence[ConsumedRecord]]:
        """Yield what has arrived, in order within each partition, from where the position store says. Ends on close."""
        ...

    async def lag(self) -> dict[TopicPartition, int]:
        """How many records of each assigned partition were not yet yielded."""
        ...

    async def close(self) -> None:
        """Leave the group; `batches` ends."""
        ...


class LedgerReader(Protocol):
    """Reads recorded history, in the order of positions."""

    def read(self, selection: Selection = EVERYTHING) -> AsyncIterator[LedgerEvent]:
        """Yield the recorded events that are selected, lifted to today's classes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did: how many were new, and how many were there already."""

    recorded: int
    duplicates: int


class Ledger(LedgerReader, Protocol):
    """Records history."""

    async def append(self, records: Sequence[ConsumedRecord]) -> Appended:
        """Record a batch and its positions in one transaction, in commit order. What is there already is left alone.

        A record that is not an event is recorded as the dead letter that it is.
        """
        ...
