"""The step of this service's relay: events go to the topic that their row names, in the order of positions."""

from __future__ import annotations

from itertools import groupby

from chatledger.adapters.postgres import Connection
from chatledger.adapters.relay import BATCH_EVENTS_MAX
from chatledger.ports import Publisher
from chatledger_outreach.journal import stored_envelope
from chatledger_outreach.sql import query

NAME = "chatledger outreach relay"
"""Of the lock that the one relay of this service holds."""


async def publish_step(publisher: Publisher, connection: Connection) -> int:
    """Publish the oldest unpublished events, wait for the acknowledgements, mark. Return how many there were."""
    rows = await (await connection.execute(query("unpublished_events"), (BATCH_EVENTS_MAX,))).fetchall()
    for topic, group in groupby(rows, key=lambda row: str(row[13])):
        events = list(group)
        await publisher.publish(topic, [stored_envelope(row) for row in events])
        await connection.execute(query("mark_published"), ([row[12] for row in events],))
    return len(rows)
