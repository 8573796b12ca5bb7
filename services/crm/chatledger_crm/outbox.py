"""The outbox: the service's events in streams, kept in Postgres, and the step that publishes them from there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from chatledger.adapters.postgres import Connection
from chatledger.adapters.relay import BATCH_EVENTS_MAX
from chatledger.events.codec import decode_data, encode_data, type_and_version
from chatledger.events.envelope import Envelope
from chatledger.ports import Clock, Publisher
from chatledger.topics import INVENTORY
from chatledger_crm.sql import query

SOURCE = "/chatledger/crm"
RELAY_NAME = "chatledger crm relay"
"""Of the lock that the one relay of this service holds."""


async def append(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    """Append events to their streams and to the outbox, within the caller's transaction."""
    if envelopes:
        await connection.execute(query("append_events"), _columns(envelopes))


async def last_version(connection: Connection, stream: str) -> int:
    """How many events a stream has."""
    row = await (await connection.execute(query("last_version"), (stream,))).fetchone()
    assert row is not None
    return int(row[0])


async def publish_step(publisher: Publisher, clock: Clock, connection: Connection) -> int:
    """Publish the oldest unpublished events, wait for the acknowledgements, mark. Return how many there were."""
    rows = await (await connection.execute(query("unpublished_events"), (BATCH_EVENTS_MAX,))).fetchall()
    if rows:
        await publisher.publish(INVENTORY, [_envelope(row) for row in rows])
        await connection.execute(query("mark_published"), (clock.now(), [row[11] for row in rows]))
    return len(rows)


def _envelope(row: Sequence[Any]) -> Envelope:
    return Envelope(
        id=row[0],
        source=SOURCE,
        conversation=row[1],
        stream=row[2],
        stream_version=row[3],
        data=decode_data(row[4], row[5], row[10].encode()),
        time=row[6].astimezone(UTC),
        correlation_id=row[7],
        causation_id=row[8],
        traceparent=row[9],
    )


def _columns(envelopes: Sequence[Envelope]) -> tuple[list[Any], ...]:
    kinds = [type_and_version(each.data) for each in envelopes]
    return (
        [each.id for each in envelopes],
        [each.conversation for each in envelopes],
        [each.stream for each in envelopes],
        [each.stream_version for each in envelopes],
        [kind for kind, _ in kinds],
        [version for _, version in kinds],
        [each.time for each in envelopes],
        [each.correlation_id for each in envelopes],
        [each.causation_id for each in envelopes],
        [each.traceparent for each in envelopes],
        [encode_data(each.data).decode() for each in envelopes],
    )
