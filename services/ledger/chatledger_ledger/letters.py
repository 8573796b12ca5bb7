"""Dead letters in the ledger, and the record that each of them holds, ready to be published again."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass

from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.errors import ConfigurationError
from chatledger.events.base import UnknownEvent
from chatledger.events.codec import Headers
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import LedgerEvent

Letter = tuple[LedgerEvent, RecordDeadLettered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """The newest dead letters, in the order of their positions, and the ids of those that this code cannot read."""

    letters: list[Letter]
    unreadable: list[str]


async def newest_letters(reader: PostgresLedgerReader, limit: int) -> Letters:
    """Return the newest dead letters, at most `limit` with those that a newer chatledger wrote."""
    events = await reader.newest(RecordDeadLettered.type, limit)
    return Letters(
        letters=[
            (event, event.envelope.data) for event in events if isinstance(event.envelope.data, RecordDeadLettered)
        ],
        unreadable=[event.envelope.id for event in events if isinstance(event.envelope.data, UnknownEvent)],
    )


async def find_letter(reader: PostgresLedgerReader, event_id: str) -> RecordDeadLettered | None:
    """Return the dead letter with this event id, or None where there is none.

    Raises ConfigurationError where there is one that this code cannot read.
    """
    try:
        event = await reader.find(str(uuid.UUID(event_id)))
    except ValueError:
        return None
    if event is None:
        return None
    if isinstance(event.envelope.data, UnknownEvent) and event.envelope.data.type_name == RecordDeadLettered.type:
        raise ConfigurationError(f"{event_id} was written by a newer chatledger: put it back with that one")
    return event.envelope.data if isinstance(event.envelope.data, RecordDeadLettered) else None


def original_record(letter: RecordDeadLettered) -> tuple[bytes, bytes | None, Headers]:
    """Return key, value and headers of the record that the letter is about.

    Raises ConfigurationError where the letter does not hold it whole. Header bytes that were no text come back escaped.
    """
    value = base64.b64decode(letter.value_base64)
    if not value and "is left out here" in letter.reason:
        raise ConfigurationError(
            f"its value was too large for a letter: take the record from {letter.topic}/{letter.partition}, offset"
            f" {letter.offset}, while the broker has it"
        )
    return letter.key.encode(), value, tuple((name, text.encode()) for name, text in letter.headers.items())
