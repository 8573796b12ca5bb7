"""Dead letters: an input that cannot be processed, whole, with its cause, as an event for chat.dead.

Everything in it comes from the record, so reading the record again makes the same dead letter. Its reason holds no
personal data: of an unexpected error it says the kind and the place, not the message.
"""

from __future__ import annotations

import base64
import traceback
from datetime import UTC, datetime
from typing import Protocol

from chatledger.errors import ChatledgerError
from chatledger.events.codec import Headers
from chatledger.events.envelope import Envelope, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.letters import RecordDeadLettered

SERVICE = "dialog"
SOURCE = "/chatledger/dialog"
UNKNOWN_CONVERSATION = "unknown/unknown/unknown"
"""The key of a dead letter whose record names no conversation."""
VALUE_BYTES_MAX = 600_000
"""Base64 makes a third more of it, and a record has to stay below Kafka's 1 MiB. A larger value is left out."""


class InboundRecord(Protocol):
    """What is read of a record; Faust's message has it. `timestamp` is in seconds since 1970."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> float | None: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Headers | None: ...


def dead_letter(record: InboundRecord, error: Exception, incarnation: str, cause: Envelope | None) -> Envelope:
    """Return the event that says why `record` was not processed. `cause` is its envelope, where it has a good one."""
    key, value = _text(record.key), record.value or b""
    reason = reason_of(error)
    if len(value) > VALUE_BYTES_MAX:
        reason = f"{reason} (its value of {len(value)} bytes is left out here)"
        value = b""
    letter = from_outside(
        RecordDeadLettered(
            service=SERVICE,
            reason=reason,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=key,
            headers={_clean(name): _text(header) for name, header in record.headers or ()},
            value_base64=base64.b64encode(value).decode(),
        ),
        id=derive_id("dead", SERVICE, record.topic, record.partition, record.offset, incarnation),
        source=SOURCE,
        conversation=cause.conversation if cause else key if is_conversation(key) else UNKNOWN_CONVERSATION,
        time=datetime.fromtimestamp(max(0.0, record.timestamp or 0.0), UTC),
    )
    return letter if cause is None else _continued(letter, cause)


def is_conversation(key: str) -> bool:
    """Whether `key` has the form `project/channel/client`."""
    return all(key.split("/", 2)) and key.count("/") >= 2


def reason_of(error: Exception) -> str:
    """Our own errors speak for themselves; of any other one only kind and place, as its text may quote the client."""
    if isinstance(error, ChatledgerError):
        return _clean(str(error))
    place = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__} in {place[0].name}, line {place[0].lineno}" if place else type(error).__name__


def _continued(letter: Envelope, cause: Envelope) -> Envelope:
    """The same letter as part of what `cause` belongs to."""
    return Envelope(
        id=letter.id,
        source=letter.source,
        conversation=letter.conversation,
        time=letter.time,
        stream=letter.stream,
        stream_version=None,
        correlation_id=cause.correlation_id,
        causation_id=cause.id,
        traceparent=cause.traceparent,
        data=letter.data,
    )


def _text(value: bytes | None) -> str:
    return _clean((value or b"").decode("utf-8", "backslashreplace"))


def _clean(text: str) -> str:
    """Without NUL, which no store takes; what it stands in for can be told from the value."""
    return text.replace("\0", "\\x00")
