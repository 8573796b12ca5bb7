"""What records of chat.dialog mean to this service: deliveries, timers, dead letters, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from chatledger.dead_letters import dead_letter
from chatledger.errors import UndecodableRecord
from chatledger.events.codec import from_wire, refuse_newer_version
from chatledger.events.dialog import ReplyRequested, TimerRequested
from chatledger.events.envelope import Envelope, is_conversation, project_of
from chatledger.ports import ConsumedRecord
from chatledger_notify.deliveries import Delivery
from chatledger_notify.timers import Timer, timer_of

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
            work.dead_letters.append(dead_letter(record, wrong, service=SERVICE, incarnation=incarnation, now=now))
    return work


def _read(record: ConsumedRecord, work: Work, knows: Callable[[str, str], bool]) -> None:
    envelope = from_wire(record.headers, record.value)
    if not is_conversation(envelope.conversation):
        raise UndecodableRecord("ce_subject is not of the form project/channel/client")
    event = envelope.data
    refuse_newer_version(event)
    if isinstance(event, ReplyRequested):
        project = project_of(envelope.conversation)
        if not knows(project, event.channel):
            raise UndecodableRecord(f"no project {project!r} with a channel {event.channel!r} is configured")
        delivery = Delivery(request=envelope, reply=event, partition=record.partition)
        work.duplicates += delivery.id in work.deliveries
        work.deliveries.setdefault(delivery.id, delivery)
    elif isinstance(event, TimerRequested):
        work.timers[envelope.conversation, event.kind] = timer_of(envelope, event, record.partition)
