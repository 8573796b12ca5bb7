"""Replay: recorded history folded into states again. It holds no credentials, and can send nothing.

`fold` is pure over the events it is given. The state hash is over every conversation's canonical state, in the order of
their ids, so two replays of the same history agree to the byte, in any process, with any hash seed. History leaves
as NDJSON, one line per event with the columns of the ledger, and comes back from it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson
from pydantic_core import from_json, to_json

from chatledger.conversation import Conversation, encode_state, evolve, initial
from chatledger.errors import UndecodableRecord
from chatledger.events.base import UnknownEvent
from chatledger.events.codec import decode_kept, encode_data, ledger_metadata, parse_time, type_and_version
from chatledger.events.envelope import Envelope
from chatledger.ports import LedgerEvent

States = dict[str, Conversation]


def fold_into(states: States, envelope: Envelope) -> None:
    """Fold one event into the states, in place. Only the versioned events of conversations count.

    An event whose version was folded already is passed over too: a second copy changes nothing.
    """
    if envelope.stream_version is None or not envelope.stream.startswith("conversation-"):
        return
    state = states.get(envelope.conversation) or initial()
    if envelope.stream_version > state.version:
        states[envelope.conversation] = evolve(state, envelope)


def fold(envelopes: Iterable[Envelope]) -> States:
    """Fold events, in order, into the state of every conversation."""
    states: States = {}
    for envelope in envelopes:
        fold_into(states, envelope)
    return states


async def fold_ledger(events: AsyncIterator[LedgerEvent]) -> States:
    """Fold recorded events, in order of position, into the state of every conversation."""
    states: States = {}
    async for event in events:
        fold_into(states, event.envelope)
    return states


def state_hash(states: Mapping[str, Conversation]) -> str:
    """SHA-256 over all states, in hexadecimal."""
    digest = hashlib.sha256()
    for conversation in sorted(states):
        digest.update(conversation.encode())
        digest.update(b"\0")
        digest.update(encode_state(states[conversation]))
        digest.update(b"\n")
    return digest.hexdigest()


def passed_over(envelopes: Iterable[Envelope]) -> dict[str, int]:
    """Return how many events there are, by type and version, that this code does not know: folds pass over them."""
    return Counter(kind_of(each) for each in envelopes if isinstance(each.data, UnknownEvent))


def kind_of(envelope: Envelope) -> str:
    """Return type and schema version in one word, `order.placed.v2`, as schemas and golden files are named."""
    type_name, version = type_and_version(envelope.data)
    return f"{type_name}.v{version}"


def said_of_passed_over(passed_over: Mapping[str, int]) -> str:
    """Say what folds passed over, as one sentence; nothing where there is nothing to say."""
    if not passed_over:
        return ""
    kinds = ", ".join(f"{kind} ({passed_over[kind]:,})" for kind in sorted(passed_over))
    count = sum(passed_over.values())
    events = "1 event of an unknown type was" if count == 1 else f"{count:,} events of unknown types were"
    return f"{events} passed over: {kinds}; a newer chatledger may know more"


def event_line(event: LedgerEvent) -> bytes:
    """Return one event as a line of NDJSON, without the line end: the columns of `ledger.events`."""
    envelope = event.envelope
    columns: dict[str, Any] = {
        "position": event.position,
        "id": envelope.id,
        "stream": envelope.stream,
        "version": envelope.stream_version,
        "type": type_and_version(envelope.data)[0],
        "data": orjson.Fragment(encode_data(envelope.data)),
        "metadata": ledger_metadata(envelope),
        "occurred_at": envelope.time,
        "recorded_at": event.recorded_at,
        "topic": event.topic,
        "partition": event.partition,
        "source_offset": event.source_offset,
    }
    return orjson.dumps(columns, option=orjson.OPT_UTC_Z)


def read_event_line(line: bytes) -> LedgerEvent:
    """Read a line of history, lifted to today's classes; an event that this code does not know is an UnknownEvent.

    Raises UndecodableRecord when it is something else.
    """
    try:
        # Not by orjson, which takes an integer beyond 64 bits for a number with an exponent.
        columns = from_json(line, allow_inf_nan=False)
        metadata = columns["metadata"]
        return LedgerEvent(
            position=columns["position"],
            recorded_at=parse_time(columns["recorded_at"]),
            topic=columns["topic"],
            partition=columns["partition"],
            source_offset=columns["source_offset"],
            envelope=Envelope(
                id=columns["id"],
                source=metadata["source"],
                conversation=metadata["conversation"],
                time=parse_time(columns["occurred_at"]),
                stream=columns["stream"],
                stream_version=columns["version"],
                correlation_id=metadata["correlationid"],
                causation_id=metadata["causationid"],
                traceparent=metadata["traceparent"],
                data=decode_kept(columns["type"], metadata["schemaversion"], to_json(_object(columns["data"]))),
            ),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        raise UndecodableRecord(f"not a line of history: {wrong}") from wrong


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError("its data are not a JSON object")
    return data
