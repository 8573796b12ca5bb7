"""Replay: recorded history folded into states again. It holds no credentials, and can send nothing.

`fold` is pure over the events it is given. The state hash is over every conversation's canonical state, in the order of
their ids, so two replays of the same history agree to the byte, in any process, with any hash seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping

from chatledger.conversation import Conversation, encode_state, evolve, initial
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
