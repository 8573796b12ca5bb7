"""What records of chat.dialog mean to this service: deliveries, timers, dead letters, or nothing. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from chatledger.errors import UndecodableRecord
from chatledger.events.codec import from_wire, parse_time
from chatledger.events.dialog import ReplyRequested, TimerRequested
from chatledger.events.envelope import Envelope, from_outside, project_of
from chatledger.events.ids import derive_id
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import ConsumedRecord
from chatledger_notify.deliveries import SOURCE, Delivery
from chatledger_notify.timers import Timer

SERVICE = "notify"
OURS = frozenset({ReplyRequested.type.encode(), TimerRequested.type.encode()})


@dataclass(slots=True, kw_only=True)
class Work:
    """What a batch asks for. Of several timers of a kind for one conversation the last one counts.

    A delivery that was asked for twice, by records with one id, is one.
    """

    deliveries: dict[str, Delivery] = field(default_factory=dict)
    timers: dict[tuple[str, str], Timer] = field(default_factory=dict)
    dead_letters: list[Envelope] = field(default_factory=list)
    duplicates: int = 0


def read_batch(
    records: Iterable[ConsumedRecord], *, knows: Callable[[str, str], bool], incarnation: str, now: datetime
) -> Work:
    """Sort records into work. `knows` tells whether a project is configured to use a channel."""
    work = Work()
    for record in records:
        kind = dict(record.headers).get("ce_type")
        if kind is not None and kind not in OURS:
            continue
        try:
            _read(record, work, knows)
        except UndecodableRecord as wrong:
            work.dead_letters.append(dead_letter(record, str(wrong), incarnation=incarnation, now=now))
    return work


def dead_letter(record: ConsumedRecord, reason: str, *, incarnation: str, now: datetime) -> Envelope:
    """Return the dead letter of a record; its id comes from the record's place, its time from the record if it can."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="replace")
    try:
        time = parse_time(headers["ce_time"])
    except (KeyError, ValueError):
        time = now
    letter = RecordDeadLettered(
        service=SERVICE,
        reason=reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=key,
        headers=headers,
        value_base64=base64.b64encode(record.value or b"").decode(),
    )
    return from_outside(
        letter,
        id=derive_id("dead", SERVICE, record.topic, record.partition, record.offset, incarnation),
        source=SOURCE,
        conversation=key or "unknown/unknown/unknown",
        time=time,
    )


def _read(record: ConsumedRecord, work: Work, knows: Callable[[str, str], bool]) -> None:
    envelope = from_wire(record.headers, record.value)
    context = (envelope.id, envelope.conversation, envelope.correlation_id, envelope.traceparent or "")
    if any("\x00" in text for text in context) or envelope.conversation.count("/") < 2:
        raise UndecodableRecord("a ce_* header is not one of ours: a NUL character, or no project/channel/client")
    event = envelope.data
    if isinstance(event, ReplyRequested):
        project = project_of(envelope.conversation)
        if not knows(project, event.channel):
            raise UndecodableRecord(f"no project {project!r} with a channel {event.channel!r} is configured")
        delivery = Delivery(request=envelope, reply=event, partition=record.partition)
        work.duplicates += delivery.id in work.deliveries
        work.deliveries.setdefault(delivery.id, delivery)
    elif isinstance(event, TimerRequested):
        if "\x00" in event.kind or event.due.tzinfo is None:
            raise UndecodableRecord("the timer's kind has a NUL character, or its time no offset")
        work.timers[envelope.conversation, event.kind] = Timer(
            conversation=envelope.conversation,
            kind=event.kind,
            due=event.due,
            timer_id=envelope.id,
            version=envelope.stream_version or 0,
            partition=record.partition,
            correlation_id=envelope.correlation_id,
            traceparent=envelope.traceparent,
        )
