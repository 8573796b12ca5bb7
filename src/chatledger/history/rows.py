"""The rows of history's tables: events, conversations, messages. Flat, typed, the same in every format.

A row is a tuple, so that a batch of rows turns into columns without a step between. Times are UTC. Where a row's
subject is no client's conversation (a campaign, a product), `channel` and `client_id` are None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from chatledger.events.codec import encode_data, type_and_version
from chatledger.ports import LedgerEvent

NOT_CLIENTS = frozenset({"campaigns", "inventory", "crm"})
"""The second parts of keys that are no client's."""


class EventRow(NamedTuple):
    """One event. `data` is its own fields as JSON, lifted to today's schema version, which `schema_version` says."""

    position: int
    recorded_at: datetime
    occurred_at: datetime
    id: str
    type: str
    stream: str
    version: int | None
    project: str
    channel: str | None
    client_id: str | None
    conversation: str
    correlation_id: str
    causation_id: str | None
    source: str
    schema_version: int
    topic: str
    partition: int
    source_offset: int
    data: str


class ConversationRow(NamedTuple):
    """One conversation as it was folded. `state` is the whole folded state as canonical JSON.

    Counts and times are of everything that was known then. `sessions` is how often it was started.
    """

    conversation: str
    project: str
    channel: str | None
    client_id: str | None
    status: str
    flow: str | None
    language: str | None
    address: str | None
    phone: str | None
    quantity: int | None
    order_id: str | None
    opted_out: bool
    wrong_answers: int
    version: int
    sessions: int
    messages_received: int
    messages_requested: int
    orders_placed: int
    first_event_at: datetime
    first_recorded_at: datetime
    last_message_at: datetime | None
    last_event_at: datetime
    last_recorded_at: datetime
    last_position: int
    state: str


class MessageRow(NamedTuple):
    """One message. `direction` is `in` where a client wrote, `out` where a message to a client was requested.

    `status` of an incoming message is `received`, of an outgoing one `requested`, then blocked, failed, sent,
    undelivered, delivered or read; of either `dead` where it could not be processed. `reason` says why it came no
    further. `led_to` is the type of the first event that an incoming message led to in its conversation.
    """

    position: int
    recorded_at: datetime
    occurred_at: datetime
    id: str
    direction: str
    project: str
    channel: str | None
    client_id: str | None
    conversation: str
    text: str
    client_name: str | None
    purpose: str | None
    regarding: str | None
    cause_id: str | None
    status: str
    reason: str | None
    attempts: int | None
    led_to: str | None
    led_to_at: datetime | None
    blocked_at: datetime | None
    failed_at: datetime | None
    sent_at: datetime | None
    undelivered_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    provider_message_id: str | None


Row = TypeVar("Row", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Part(Generic[Row]):
    """Some rows of a table: those that were found up to position `end` of the ledger, which says how far reading is."""

    end: int
    rows: Sequence[Row]


@cache
def column_types(row_class: type) -> Mapping[str, tuple[type, bool]]:
    """Each column of a row class, in order: its Python type, and whether it may be None."""
    columns = {}
    for name, hint in get_type_hints(row_class).items():
        parts = [part for part in get_args(hint) if part is not NoneType]
        columns[name] = (parts[0], True) if parts else (hint, False)
    return columns


def parts_of(conversation: str) -> tuple[str, str | None, str | None]:
    """Project, channel and client id of a conversation id; of any other subject only the project."""
    project, _, rest = conversation.partition("/")
    channel, _, client = rest.partition("/")
    return (project, channel, client) if client and channel not in NOT_CLIENTS else (project, None, None)


def event_row(event: LedgerEvent) -> EventRow:
    """The row of an event."""
    envelope = event.envelope
    type_name, version = type_and_version(envelope.data)
    project, channel, client = parts_of(envelope.conversation)
    return EventRow(
        position=event.position,
        recorded_at=event.recorded_at,
        occurred_at=envelope.time,
        id=envelope.id,
        type=type_name,
        stream=envelope.stream,
        version=envelope.stream_version,
        project=project,
        channel=channel,
        client_id=client,
        conversation=envelope.conversation,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.causation_id,
        source=envelope.source,
        schema_version=version,
        topic=event.topic,
        partition=event.partition,
        source_offset=event.source_offset,
        data=encode_data(envelope.data).decode(),
    )
