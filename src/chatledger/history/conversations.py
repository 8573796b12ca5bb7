"""One row per conversation, folded by the same fold that the dialog uses, in the order in which they began.

Not in the order of their ids: that would tell of anonymised clients whose number comes before whose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chatledger.conversation import encode_state, initial
from chatledger.events.base import Event
from chatledger.events.dialog import ConversationStarted, OrderPlaced, ReplyRequested
from chatledger.events.inbound import MessageReceived
from chatledger.history.anonymised import Anonymiser
from chatledger.history.connection import POSITIONS_PER_READ, LedgerConnection, decoded
from chatledger.history.rows import ConversationRow, Part, parts_of
from chatledger.ports import LedgerEvent, Selection
from chatledger.replay import States, fold_into

STREAMS_PER_READ = 200
"""A stream has tens of events, seldom thousands; so many are in memory at a time."""


def conversation_parts(
    connection: LedgerConnection, selection: Selection, anonymiser: Anonymiser | None
) -> Iterator[Part[ConversationRow]]:
    """Yield the conversations as they were known at the end of the selection.

    Of the selection count the end and the project, and `since_time`: those in which nothing was recorded since are left
    out.
    """
    bounded = connection.bounded(selection)
    after, until = 0, bounded.until_position or 0
    bounds = {"until_time": bounded.until_time, "project": bounded.project}
    while after < until:
        end = min(until, after + POSITIONS_PER_READ)
        found = connection.values("conversations_begun", {**bounds, "after": after, "until_position": end})
        streams = [str(stream) for (stream,) in found]
        for first in range(0, len(streams), STREAMS_PER_READ):
            rows = _folded(connection, streams[first : first + STREAMS_PER_READ], bounded, anonymiser)
            since = bounded.since_time
            yield Part(after, [row for row in rows if since is None or row.last_recorded_at >= since])
        after = end
        yield Part(end, [])


def conversation_row(events: Iterable[LedgerEvent]) -> ConversationRow | None:
    """Fold the events of one conversation's stream into its row; None where none of them has a version."""
    kept = tuple(events)
    versioned = [event for event in kept if event.envelope.stream_version is not None]
    if not versioned:
        return None
    states: States = {}
    for event in versioned:
        fold_into(states, event.envelope)
    conversation = versioned[0].envelope.conversation
    state = states.get(conversation, initial())
    project, channel, client = parts_of(conversation)
    return ConversationRow(
        conversation=conversation,
        project=project,
        channel=channel,
        client_id=client,
        status=str(state.status),
        flow=state.flow,
        language=state.language,
        address=state.address,
        phone=state.phone,
        quantity=state.quantity,
        order_id=state.order_id,
        opted_out=state.opted_out,
        wrong_answers=state.wrong_answers,
        version=state.version,
        sessions=_count(kept, ConversationStarted),
        messages_received=_count(kept, MessageReceived),
        messages_requested=_count(kept, ReplyRequested),
        orders_placed=_count(kept, OrderPlaced),
        first_event_at=min(event.envelope.time for event in kept),
        first_recorded_at=kept[0].recorded_at,
        last_message_at=state.last_message_at,
        last_event_at=max(event.envelope.time for event in kept),
        last_recorded_at=kept[-1].recorded_at,
        last_position=kept[-1].position,
        state=encode_state(state).decode(),
    )


def _count(events: Sequence[LedgerEvent], kind: type[Event]) -> int:
    return sum(type(event.envelope.data) is kind for event in events)


def _folded(
    connection: LedgerConnection, streams: list[str], bounded: Selection, anonymiser: Anonymiser | None
) -> Iterator[ConversationRow]:
    by_stream: dict[str, list[LedgerEvent]] = {stream: [] for stream in streams}
    parameters = {
        "streams": streams,
        "until_position": bounded.until_position,
        "until_time": bounded.until_time,
    }
    for kept in connection.rows("streams", parameters):
        event = decoded(kept)
        by_stream[kept.record.stream].append(anonymiser.event(event) if anonymiser else event)
    for events in by_stream.values():
        row = conversation_row(events)
        if row is not None:
            yield row
