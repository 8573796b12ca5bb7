"""Dead letters: a record that billing cannot process, whole and with the reason, for the topic chat.dead."""

from __future__ import annotations

import base64
from datetime import datetime

from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import ConsumedRecord
from chatledger_billing.decisions import SOURCE

SERVICE = "billing"
UNKNOWN_CONVERSATION = "unknown/unknown/unknown"
"""The key of a letter whose record names no conversation."""
VALUE_BYTES_MAX = 600_000
"""Base64 makes a third more of it, and a record has to stay below Kafka's 1 MiB. A larger value is left out."""


def dead_letter(
    record: ConsumedRecord, reason: str, *, cause: Envelope | None, incarnation: str, now: datetime
) -> Envelope:
    """Return the letter. Its id comes from where the record stood, so that it is the same letter at a second try."""
    key, value = _text(record.key), record.value or b""
    if len(value) > VALUE_BYTES_MAX:
        reason, value = f"{reason} (its value of {len(value)} bytes is left out here)", b""
    letter_id = derive_id("dead", SERVICE, record.topic, record.partition, record.offset, incarnation)
    conversation = cause.conversation if cause else key
    if conversation.count("/") < 2 or not all(conversation.split("/", 2)):
        conversation = UNKNOWN_CONVERSATION
    return Envelope(
        id=letter_id,
        source=SOURCE,
        conversation=_clean(conversation),
        time=cause.time if cause else now,
        stream=f"conversation-{_clean(conversation)}",
        stream_version=None,
        correlation_id=cause.correlation_id if cause else letter_id,
        causation_id=cause.id if cause else None,
        traceparent=cause.traceparent if cause else None,
        data=RecordDeadLettered(
            service=SERVICE,
            reason=_clean(reason),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=key,
            headers={_clean(name): _text(header) for name, header in record.headers},
            value_base64=base64.b64encode(value).decode(),
        ),
    )


def _text(value: bytes | None) -> str:
    return _clean((value or b"").decode("utf-8", "backslashreplace"))


def _clean(text: str) -> str:
    """Without NUL, which no store takes; what it stands in for can be told from the value."""
    return text.replace("\0", "\\x00")
