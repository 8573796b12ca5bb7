"""Dead letters, on the topic chat.dead: what could not be processed, whole, with its cause; and what was lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chatledger.events.base import Event, Integer, PersonalHeaders, PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeadLettered(Event):
    """A service could not process a record. `value_base64` and `headers` are the record's own, to put it back."""

    type: ClassVar[str] = "record.dead_lettered"

    service: str
    reason: str
    topic: str
    partition: Integer
    offset: Integer
    key: PersonalText
    headers: PersonalHeaders
    value_base64: PersonalText


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLost(Event):
    """An event was lost with its broker before it was recorded; all that is known is that something came of it.

    `known_by` is the service that has what came of it. `event_type` is None where that cannot be told.
    """

    type: ClassVar[str] = "record.lost"

    event_id: str
    event_type: str | None
    known_by: str


EVENTS: tuple[type[Event], ...] = (RecordDeadLettered, RecordLost)
