"""Dead letters: a record that a service cannot process, whole, with its cause, as an event for chat.dead.

The letter's id comes from where the record stood, so a record that is read again makes the same letter. Its reason
holds no personal data: of an unexpected error it says the kind and the place, not the message.
"""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from chatledger.errors import ChatledgerError
from chatledger.events.codec import parse_time
from chatledger.events.envelope import Envelope, from_outside, is_conversation
from chatledger.events.ids import derive_id
from chatledger.events.letters import RecordDeadLettered

UNKNOWN_CONVERSATION = "unknown/unknown/unknown"
"""The key of a letter whose record names no conversation."""
VALUE_BYTES_MAX = 600_000
"""Base64 makes a third more of it, and a record has to stay below Kafka's 1 MiB."""


class DeadRecord(Protocol):
    """What is read of a record; ConsumedRecord has it, and so has Faust's message."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]] | None: ...


def dead_letter(
    record: DeadRecord,
    error: Exception | str,
    *,
    service: str,
    incarnation: str,
    now: datetime,
    cause: Envelope | None = None,
    value_bytes_max: int | None = VALUE_BYTES_MAX,
) -> Envelope:
    """Return the event that says why `service` did not process `record`.

    `cause` is the record's envelope, where it has a good one. `now` is the letter's time where the record tells none.
    A value beyond `value_bytes_max` is left out, and the reason says so.
    """
    headers = {_clean(name): _text(header) for name, header in record.headers or ()}
    value, reason = record.value or b"", _clean(error if isinstance(error, str) else reason_of(error))
    if value_bytes_max is not None and len(value) > value_bytes_max:
        reason, value = f"{reason} (its value of {len(value)} bytes is left out here)", b""
    letter = RecordDeadLettered(
        service=service,
        reason=reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=_text(record.key),
        headers=headers,
        value_base64=base64.b64encode(value).decode(),
    )
    named = (cause.conversation if cause else "", letter.key, headers.get("ce_subject", ""), UNKNOWN_CONVERSATION)
    return from_outside(
        letter,
        id=derive_id("dead", service, record.topic, record.partition, record.offset, incarnation),
        source=f"/chatledger/{service}",
        conversation=next(name for name in named if is_conversation(name)),
        time=cause.time if cause else _time(headers.get("ce_time", ""), now),
        cause=cause,
    )


def reason_of(error: Exception) -> str:
    """Our own errors speak for themselves; of any other one only kind and place, as its text may quote the client."""
    if isinstance(error, ChatledgerError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__} in {place[0].name}, line {place[0].lineno}" if place else type(error).__name__


def _time(text: str, now: datetime) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        return now


def _text(value: bytes | None) -> str:
    return _clean((value or b"").decode("utf-8", "backslashreplace"))


def _clean(text: str) -> str:
    """Without NUL, which no store takes; what it stands in for can be told from the value."""
    return text.replace("\0", "\\x00")
