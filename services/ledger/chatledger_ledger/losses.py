"""Events that were lost with a broker before they were recorded, and of which something is left: found and recorded.

An event that will come again is not lost: what a service still publishes, and what the dialog will decide about inputs
that it has not decided. Both have derived ids, so it can be told beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chatledger.adapters.broker_loss import Mended
from chatledger.adapters.kafka_batches import BatchPublisher, OutgoingRecord
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import Connection
from chatledger.events.codec import to_wire
from chatledger.events.envelope import Envelope, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.letters import RecordLost
from chatledger.flows.pipeline import SOURCE as DIALOG_SOURCE
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger.topics import DEAD
from chatledger_ledger.broker_history import LedgerHistory
from chatledger_ledger.postgres_ledger import PostgresLedger
from chatledger_ledger.queries import load_queries
from chatledger_ledger.refill import partition_of
from chatledger_ledger.restore_plan import DIALOG, LEDGER, RestorePlan

SOURCE = "/chatledger/restore"
DECISIONS_PER_INPUT_MAX = 64
"""Far more than any flow decides about one message."""

_QUERIES = load_queries("restore.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """An event that is lost, and the service that has what came of it."""

    event_id: str
    event_type: str | None
    known_by: str
    conversation: str


async def find_losses(
    connection: Connection, plan: RestorePlan, mended: Mapping[str, Mended], *, all_history: bool
) -> list[Loss]:
    """Return what is lost for good and not recorded as lost yet, in the order of ids.

    With `all_history` it looks at everything that was ever recorded, else only at what the last broker brought.
    """
    history = LedgerHistory(connection)
    losses = {
        each.event_id: Loss(
            event_id=each.event_id, event_type=each.event_type, known_by=service, conversation=each.conversation
        )
        for service, part in mended.items()
        for each in part.needed
    }
    missing = await history.missing(sorted(losses))
    for event_id, conversation in await _causes_missing(connection, all_history=all_history):
        missing.add(event_id)
        losses.setdefault(
            event_id, Loss(event_id=event_id, event_type=None, known_by=LEDGER, conversation=conversation)
        )
    coming = {event_id for part in mended.values() for event_id in part.coming}
    missing -= coming
    if missing:
        missing -= decided_of([*await _undecided(connection, plan), *coming], missing)
    noted = {derive_id("lost", event_id): event_id for event_id in missing}
    unnoted = await history.missing(sorted(noted))
    return [losses[event_id] for event_id in sorted(noted[each] for each in unnoted)]


def decided_of(inputs: Iterable[str], wanted: set[str]) -> set[str]:
    """Return those of the `wanted` ids that are the dialog's decisions about these inputs."""
    left, found = set(wanted), set[str]()
    for event_id in inputs:
        if not left:
            break
        decisions = {derive_id(event_id, DIALOG_SOURCE, index) for index in range(DECISIONS_PER_INPUT_MAX)} & left
        found |= decisions
        left -= decisions
    return found


async def record_losses(
    losses: Sequence[Loss],
    publisher: BatchPublisher,
    ledger: PostgresLedger,
    *,
    ends: Mapping[TopicPartition, int],
    now: datetime,
) -> None:
    """Put the losses on chat.dead, whose partitions end at `ends`, and record them. Raises BrokerUnavailable."""
    outgoing: list[OutgoingRecord] = []
    records: list[ConsumedRecord] = []
    next_offsets = dict(ends)
    for loss in losses:
        envelope = loss_event(loss, now)
        wire = to_wire(envelope)
        at = TopicPartition(DEAD, partition_of(wire.key))
        outgoing.append(OutgoingRecord(at.topic, at.partition, wire.key, wire.value, wire.headers))
        records.append(recorded(envelope, topic=at.topic, partition=at.partition, offset=next_offsets[at]))
        next_offsets[at] += 1
    if losses:
        await publisher.publish(outgoing)
        await ledger.append(records)


def loss_event(loss: Loss, now: datetime) -> Envelope:
    """Return the event that says so; for one lost event it has one id."""
    return from_outside(
        RecordLost(event_id=loss.event_id, event_type=loss.event_type, known_by=loss.known_by),
        id=derive_id("lost", loss.event_id),
        source=SOURCE,
        conversation=loss.conversation,
        time=now,
    )


async def _causes_missing(connection: Connection, *, all_history: bool) -> list[tuple[str, str]]:
    after = 0
    if not all_history:
        row = await (await connection.execute(_QUERIES["last_life"])).fetchone()
        after = row[0] if row else 0
    rows = await connection.execute(_QUERIES["causes_missing"], {"after": after})
    return [(event_id, conversation) for event_id, conversation in await rows.fetchall()]


async def _undecided(connection: Connection, plan: RestorePlan) -> list[str]:
    decided = plan.handled[DIALOG]
    columns = {"partitions": [at.partition for at in decided], "after_positions": list(decided.values())}
    rows = await connection.execute(_QUERIES["undecided"], columns)
    return [event_id for (event_id,) in await rows.fetchall()]
