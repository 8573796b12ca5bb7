"""One row per message in either direction, with what became of it, in the order of positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chatledger.events.base import Event
from chatledger.events.deliveries import (
    MessageBlocked,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    MessageUndelivered,
)
from chatledger.events.dialog import ReplyRequested
from chatledger.events.inbound import MessageReceived
from chatledger.history.anonymised import Anonymiser
from chatledger.history.connection import POSITIONS_PER_READ, LedgerConnection, decoded
from chatledger.history.rows import MessageRow, Part, parts_of
from chatledger.ports import LedgerEvent, Selection

OUTCOMES: Mapping[type[Event], str] = {
    MessageBlocked: "blocked",
    MessageFailed: "failed",
    MessageSent: "sent",
    MessageUndelivered: "undelivered",
    MessageDelivered: "delivered",
    MessageRead: "read",
}
"""What an event in a delivery's stream says of its message, in the order of rank: a status never goes back."""
_RANKS = {status: rank for rank, status in enumerate(("requested", "dead", *OUTCOMES.values()))}
_TOLD = ("reason", "attempts", "provider_message_id")
_HANDLERS = {"in": "dialog", "out": "notify"}
"""The service that a message of each direction goes to next."""


class LedTo(NamedTuple):
    """The first event that a client's message led to in its conversation."""

    type: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What became of some messages, by their event ids: `letters` by the service too that could not process them."""

    led_to: Mapping[str, LedTo]
    deliveries: Mapping[str, list[LedgerEvent]]
    letters: Mapping[tuple[str, str], str]


def message_parts(
    connection: LedgerConnection, selection: Selection, anonymiser: Anonymiser | None
) -> Iterator[Part[MessageRow]]:
    """Yield the messages that were recorded in the selection, with what became of them until its end."""
    bounded = replace(connection.bounded(selection), types=(MessageReceived.type, ReplyRequested.type))
    for stretch in connection.stretches(bounded):
        events = [decoded(kept) for kept in stretch.rows]
        known = _Known(
            led_to=_led_to(connection, [each for each in events if _is(each, MessageReceived)], bounded),
            deliveries=_deliveries(connection, [each for each in events if _is(each, ReplyRequested)], bounded),
            letters=_letters(connection, events, bounded),
        )
        rows = (message_row(event, known, anonymiser) for event in events)
        yield Part(stretch.end, [row for row in rows if row is not None])


def message_row(event: LedgerEvent, known: _Known, anonymiser: Anonymiser | None) -> MessageRow | None:
    """The row of one message, with what became of it; None of what is none after all: its data did not fit."""
    event_id = event.envelope.id
    deliveries, led_to = known.deliveries.get(event_id, []), known.led_to.get(event_id)
    if anonymiser is not None:
        event, deliveries = anonymiser.event(event), [anonymiser.event(each) for each in deliveries]
    match event.envelope.data:
        case MessageReceived() as message:
            row = _row(event, message.text, "in")._replace(
                client_name=message.client_name,
                status="received",
                led_to=led_to.type if led_to else None,
                led_to_at=led_to.at if led_to else None,
                provider_message_id=message.provider_message_id,
            )
        case ReplyRequested() as message:
            row = _row(event, message.text, "out")._replace(purpose=message.purpose, regarding=message.regarding)
        case _:
            return None
    for each in deliveries:
        row = _moved(row, each.envelope.data, each.envelope.time)
    letter = known.letters.get((event_id, _HANDLERS[row.direction]))
    if letter is not None and row.led_to is None and row.status in ("received", "requested"):
        row = row._replace(status="dead", reason=anonymiser.word(letter) if anonymiser else letter)
    return row


def _moved(row: MessageRow, outcome: Event, at: datetime) -> MessageRow:
    status = OUTCOMES.get(type(outcome))
    if status is None:
        return row
    told: dict[str, Any] = {name: getattr(outcome, name, None) for name in _TOLD}
    told = {name: value for name, value in told.items() if value is not None} | {f"{status}_at": at}
    if _RANKS[status] > _RANKS[row.status]:
        told["status"] = status
    return row._replace(**told)


def _row(event: LedgerEvent, text: str, direction: str) -> MessageRow:
    envelope = event.envelope
    project, channel, client = parts_of(envelope.conversation)
    return MessageRow(
        position=event.position,
        recorded_at=event.recorded_at,
        occurred_at=envelope.time,
        id=envelope.id,
        direction=direction,
        project=project,
        channel=channel,
        client_id=client,
        conversation=envelope.conversation,
        text=text,
        client_name=None,
        purpose=None,
        regarding=None,
        cause_id=envelope.causation_id,
        status="requested",
        reason=None,
        attempts=None,
        led_to=None,
        led_to_at=None,
        blocked_at=None,
        failed_at=None,
        sent_at=None,
        undelivered_at=None,
        delivered_at=None,
        read_at=None,
        provider_message_id=None,
    )


def _led_to(connection: LedgerConnection, received: Sequence[LedgerEvent], bounded: Selection) -> dict[str, LedTo]:
    """By message. Most were answered within moments; the streams of the others are looked through."""
    if not received:
        return {}
    causes, until = {each.envelope.id: each for each in received}, bounded.until_position or 0
    bounds = {"until_time": bounded.until_time, "causes": list(causes)}
    nearby = {
        "after": received[0].position,
        "until_position": min(until, received[-1].position + POSITIONS_PER_READ),
    }
    answered = connection.values("led_to_nearby", {**bounds, **nearby})
    soon = {cause for cause, _, _ in answered}
    late = [each for event_id, each in causes.items() if event_id not in soon]
    if late and nearby["until_position"] < until:
        streams = {
            "streams": sorted({each.envelope.stream for each in late}),
            "causes": [each.envelope.id for each in late],
            "until_position": until,
        }
        answered += connection.values("led_to", {**bounds, **streams})
    return {cause: LedTo(kind, at.astimezone(UTC)) for cause, kind, at in answered}


def _deliveries(
    connection: LedgerConnection, requested: Sequence[LedgerEvent], bounded: Selection
) -> dict[str, list[LedgerEvent]]:
    """The events in the stream of each delivery; its id is the id of the event that requested it."""
    found: dict[str, list[LedgerEvent]] = {each.envelope.id: [] for each in requested}
    if found:
        streams = [f"delivery-{delivery}" for delivery in found]
        for kept in connection.rows("streams", {**_end_of(bounded), "streams": streams}):
            found[kept.record.stream.removeprefix("delivery-")].append(decoded(kept))
    return found


def _letters(
    connection: LedgerConnection, messages: Sequence[LedgerEvent], bounded: Selection
) -> dict[tuple[str, str], str]:
    """The reason of the dead letter that a message became, by the message's id and the service that wrote it."""
    ids = [each.envelope.id for each in messages]
    found = connection.values("dead_letters_of", {**_end_of(bounded), "ids": ids}) if ids else []
    return {(event_id, service): reason for event_id, service, reason in found}


def _end_of(bounded: Selection) -> dict[str, object]:
    return {"until_position": bounded.until_position, "until_time": bounded.until_time}


def _is(event: LedgerEvent, kind: type[Event]) -> bool:
    return isinstance(event.envelope.data, kind)
