"""What the dialog does with a batch of inputs: fold, publish, then move the table. No framework here.

`fold_batch` is pure: the same records on the same states give the same outputs, however the records are cut into
batches. `BatchHandler` puts the outputs and the dead letters on their topics, then the new states on the changelog,
and installs them last; whatever fails before leaves the states as they were, so that the records are folded again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from chatledger import logs, metrics, topics
from chatledger.adapters.kafka_batches import OutgoingRecord
from chatledger.adapters.table_versions import caught_up_record
from chatledger.conversation import evolve, initial, was_handled
from chatledger.dead_letters import DeadRecord, dead_letter
from chatledger.dialog_table import OFFSET_NONE, Entry, encode_entry
from chatledger.errors import InvariantViolated, UndecodableRecord
from chatledger.events.codec import from_wire, refuse_newer_version, to_wire, type_and_version
from chatledger.events.envelope import Envelope, is_conversation
from chatledger.events.inbound import DeliveryReported
from chatledger.events.letters import RecordDeadLettered
from chatledger.flows.pipeline import handle
from chatledger.inventory import LiveProjects
from chatledger.projects import Project
from chatledger_dialog.settings import SERVICE
from chatledger_dialog.states import States

Lookup = Callable[[bytes], Entry | None]
Placed = tuple[int, Envelope]
"""A partition and what goes there: the input's own, since one conversation is one partition on all topics."""


class InboundRecord(DeadRecord, Protocol):
    """What is read of a record; Faust's message has it. `timestamp` is in seconds since 1970."""

    @property
    def timestamp(self) -> float | None: ...


class RecordPublisher(Protocol):
    """Puts encoded records on topics."""

    async def publish(self, records: Sequence[OutgoingRecord], last_look: Callable[[], None] | None = None) -> None:
        """Call `last_look` right before sending; return when the broker has all. Raises BrokerUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """One input and what came of it, for the log."""

    cause: Envelope
    events: Sequence[Envelope]


@dataclass(slots=True, kw_only=True)
class BatchResult:
    """What a batch leads to. `entries` maps a conversation's key to its partition and new entry."""

    outputs: list[Placed] = field(default_factory=list)
    dead: list[Placed] = field(default_factory=list)
    entries: dict[bytes, tuple[int, Entry]] = field(default_factory=dict)
    handled: list[Handled] = field(default_factory=list)
    duplicates: int = 0


def fold_batch(
    records: Sequence[InboundRecord],
    states: Lookup,
    projects: Mapping[str, Project],
    *,
    incarnation: str,
    live: LiveProjects | None = None,
) -> BatchResult:
    """Decide about each record, in order, and fold what was decided. The states behind `states` stay as they are.

    A record at or below its conversation's offset was folded before and is passed over. One that cannot be decoded
    or decided about becomes a dead letter; the conversation's later records go on from the state before it. With
    `live`, each record is decided with the projects as they were at its time.
    """
    result = BatchResult()
    for record in records:
        if _REPORT in (record.headers or ()):
            continue
        cause = None
        try:
            cause = _decode(record)
            key = record.key or b""
        except Exception as error:  # of whatever kind: it is this record's, and the next one must not wait for it
            result.dead.append((record.partition, _dead_letter(record, error, incarnation)))
            continue
        changed = result.entries.get(key)
        entry = changed[1] if changed else states(key) or _NEW
        if record.offset <= entry.offset:
            result.duplicates += 1
            continue
        try:
            after, envelopes = handle(entry.state, cause, live.at(cause.time) if live else projects)
        except Exception as error:  # as above: an unknown project, or a mistake in a flow
            result.dead.append((record.partition, _dead_letter(record, error, incarnation, cause)))
            continue
        if envelopes:
            result.outputs.extend([(record.partition, envelope) for envelope in envelopes])
            result.entries[key] = (record.partition, Entry(state=after, offset=record.offset))
        elif was_handled(entry.state, cause.id):
            result.duplicates += 1
            continue
        # What decides nothing leaves no entry: read again, it meets the same state and decides nothing again.
        result.handled.append(Handled(cause=cause, events=envelopes))
    return result


def fold_decided(decided: Sequence[Envelope], states: Lookup, partition: int) -> dict[bytes, tuple[int, Entry]]:
    """Fold events of chat.dialog onto the states behind `states`, which stay as they are; return what changed.

    Raises InvariantViolated where a conversation's next event is not among them.
    """
    entries: dict[bytes, tuple[int, Entry]] = {}
    for envelope in decided:
        if envelope.stream_version is None:
            continue
        key = envelope.conversation.encode()
        changed = entries.get(key)
        entry = changed[1] if changed else states(key) or _NEW
        if envelope.stream_version <= entry.state.version:
            continue
        if envelope.stream_version != entry.state.version + 1:
            raise InvariantViolated(
                f"{envelope.stream} is at version {entry.state.version} in the dialog's table, and on {topics.DIALOG}"
                f" version {envelope.stream_version} comes next: run `chatledger rebuild dialog` again"
            )
        entries[key] = (partition, replace(entry, state=evolve(entry.state, envelope)))
    return entries


def _decode(record: InboundRecord) -> Envelope:
    cause = from_wire(record.headers or (), record.value)
    if record.key != cause.conversation.encode():
        raise UndecodableRecord("the key is not the conversation in ce_subject, so its order is not kept")
    if not is_conversation(cause.conversation):
        raise UndecodableRecord("ce_subject is not of the form project/channel/client")
    refuse_newer_version(cause.data)
    return cause


def _dead_letter(record: InboundRecord, error: Exception, incarnation: str, cause: Envelope | None = None) -> Envelope:
    at = datetime.fromtimestamp(max(0.0, record.timestamp or 0.0), UTC)
    return dead_letter(record, error, service=SERVICE, incarnation=incarnation, now=at, cause=cause)


class BatchHandler:
    """Publish, then fold, for one worker."""

    def __init__(
        self,
        *,
        publisher: RecordPublisher,
        states: States,
        projects: Mapping[str, Project],
        incarnation: str,
        live: LiveProjects | None = None,
        changelog: str = topics.CHANGELOG,
    ) -> None:
        self._publisher = publisher
        self._changelog = changelog
        self._states = states
        self._projects = projects
        self._live = live
        self._incarnation = incarnation
        self._log = structlog.get_logger()

    async def handle(self, records: Sequence[InboundRecord], require_ownership: Callable[[], None]) -> None:
        """Handle one batch; once it returns, the records can be acknowledged.

        `require_ownership` raises when the batch may not be written any more; it is asked right before the changelog
        is sent, and again before anything is acknowledged. Whatever is raised here: no state has moved, and what was
        published will be published again with the same ids.
        """
        result = fold_batch(records, self._states.get, self._projects, incarnation=self._incarnation, live=self._live)
        published = [*_on_topic(topics.DIALOG, result.outputs), *_on_topic(topics.DEAD, result.dead)]
        if published:
            await self._publisher.publish(published)
        await self._move(result.entries, require_ownership)
        self._tell(result)

    async def catch_up(
        self, partition: int, decided: Sequence[Envelope], require_ownership: Callable[[], None]
    ) -> None:
        """Fold what was decided before, and is not in the table yet. Events that are in it change nothing.

        Raises InvariantViolated where one before them is missing.
        """
        await self._move(fold_decided(decided, self._states.get, partition), require_ownership)

    async def tell_caught_up(self, version: int, partition: int, require_ownership: Callable[[], None]) -> None:
        """Say that nothing is missing in a partition of this version of the table any more."""
        await self._publisher.publish([caught_up_record(version, partition)], require_ownership)

    async def _move(self, entries: Mapping[bytes, tuple[int, Entry]], require_ownership: Callable[[], None]) -> None:
        """Put entries on the changelog, and install them once it has them."""
        changes = [
            (partition, key, entry, encode_entry(entry.state, entry.offset))
            for key, (partition, entry) in entries.items()
        ]
        if changes:
            await self._publisher.publish(
                [OutgoingRecord(self._changelog, partition, key, value, ()) for partition, key, _, value in changes],
                require_ownership,
            )
        require_ownership()
        for _, key, entry, value in changes:
            self._states.put(key, entry, value)

    def _tell(self, result: BatchResult) -> None:
        """Log and count. A line per message costs some 12 µs, against 100 for handling it."""
        for handled in result.handled:
            cause = handled.cause
            project, channel, client = cause.conversation.split("/", 2)
            self._log.info(
                "message.handled",
                correlation_id=cause.correlation_id,
                event_id=cause.id,
                type=type_and_version(cause.data)[0],
                conversation=f"{project}/{channel}/{logs.mask_client(client)}",
                events=[envelope.data.type for envelope in handled.events],
            )
        for _, letter in result.dead:
            dead = letter.data
            assert isinstance(dead, RecordDeadLettered)
            self._log.error(
                "record.dead_lettered",
                correlation_id=letter.correlation_id,
                event_id=letter.id,
                partition=dead.partition,
                offset=dead.offset,
                reason=dead.reason,
            )
        _HANDLED.inc(len(result.handled))
        _DUPLICATES.inc(result.duplicates)
        _DEAD_LETTERS.inc(len(result.dead))


def _on_topic(topic: str, placed: Sequence[Placed]) -> list[OutgoingRecord]:
    records = []
    for partition, envelope in placed:
        wire = to_wire(envelope)
        records.append(OutgoingRecord(topic, partition, wire.key, wire.value, wire.headers))
    return records


_NEW = Entry(state=initial(), offset=OFFSET_NONE)
_REPORT = ("ce_type", DeliveryReported.type.encode())
"""The header of what only notify reads: two or three come with every message, so they are not decoded here."""
_HANDLED = metrics.HANDLED.labels(service=SERVICE)
_DUPLICATES = metrics.DUPLICATES.labels(service=SERVICE)
_DEAD_LETTERS = metrics.DEAD_LETTERS.labels(service=SERVICE)
