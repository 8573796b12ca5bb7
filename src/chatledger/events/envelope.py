"""The envelope: one event with everything that says where it belongs and what caused it.

It is a CloudEvent 1.0 (https://github.com/cloudevents/spec) with the extensions `stream`, `streamversion`,
`correlationid`, `causationid` and `traceparent`. `codec` turns it into a Kafka record and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chatledger.events.base import Event
from chatledger.events.ids import derive_id

CONVERSATION_LENGTH_MAX = 256
"""A project's name, a channel's and a client id of 128 characters fit; an index of Postgres takes ten times that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event and its context.

    `conversation` is the key on every topic (`project/channel/client`) and the CloudEvent's subject.
    `stream_version` counts 1..n in a stream whose owner decides; None for what comes from outside.
    `time` is when it happened (event time, UTC); when it was recorded is the ledger's to say.
    """

    id: str
    source: str
    conversation: str
    time: datetime
    stream: str
    stream_version: int | None
    correlation_id: str
    causation_id: str | None
    traceparent: str | None
    data: Event


def conversation_id(project: str, channel: str, client: str) -> str:
    """Return the key of everything that one client says to one project over one channel."""
    return f"{project}/{channel}/{client}"


def is_conversation(key: str) -> bool:
    """Whether `key` has the form of a conversation id, `project/channel/client`, and a length that stores take."""
    return key.count("/") >= 2 and all(key.split("/", 2)) and len(key) <= CONVERSATION_LENGTH_MAX


def project_of(conversation: str) -> str:
    """Return the project's name, the first part of a conversation id."""
    return conversation.split("/", 1)[0]


def from_outside(
    data: Event,
    *,
    id: str,
    source: str,
    conversation: str,
    time: datetime,
    traceparent: str | None = None,
    cause: Envelope | None = None,
) -> Envelope:
    """Wrap an event that nobody here decided: no stream version, and without a cause a correlation of its own."""
    if cause is not None:
        traceparent = cause.traceparent
    return Envelope(
        id=id,
        source=source,
        conversation=conversation,
        time=time,
        stream=f"conversation-{conversation}",
        stream_version=None,
        correlation_id=cause.correlation_id if cause else id,
        causation_id=cause.id if cause else None,
        traceparent=traceparent or f"00-{id.replace('-', '')}-{id.replace('-', '')[:16]}-01",
        data=data,
    )


def caused_by(
    cause: Envelope,
    events: Sequence[Event],
    *,
    source: str,
    stream: str,
    last_version: int | None,
    time: datetime | None = None,
) -> list[Envelope]:
    """Wrap what was decided because of `cause`: ids from the cause and an index, versions after `last_version`.

    Time is the cause's unless given, so that deciding again gives the same envelopes, byte for byte.
    """
    return [
        Envelope(
            id=derive_id(cause.id, source, index),
            source=source,
            conversation=cause.conversation,
            time=time or cause.time,
            stream=stream,
            stream_version=None if last_version is None else last_version + 1 + index,
            correlation_id=cause.correlation_id,
            causation_id=cause.id,
            traceparent=cause.traceparent,
            data=event,
        )
        for index, event in enumerate(events)
    ]
