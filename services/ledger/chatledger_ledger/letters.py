"""Dead letters in the ledger, and the record that each of them holds, ready to be published again."""

from __future__ import annotations

import base64
import uuid

from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.errors import ConfigurationError
from chatledger.events.codec import Headers
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import LedgerEvent

Letter = tuple[LedgerEvent, RecordDeadLettered]


async def newest_letters(reader: PostgresLedgerReader, limit: int) -> list[Letter]:
    """Return the newest dead letters, at most `limit`, in the order of their positions."""
    events = await reader.newest(RecordDeadLettered.type, limit)
    return [(event, event.envelope.data) for event in events if isinstance(event.envelope.data, RecordDeadLettered)]


async def find_letter(reader: PostgresLedgerReader, event_id: str) -> RecordDeadLettered | None:
    """Return the dead letter with this event id, or None where there is none."""
    try:
        event = await reader.find(str(uuid.UUID(event_id)))
    except ValueError:
        return None
    return event.envelope.data if event and isinstance(event.envelope.data, RecordDeadLettered) else None


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
