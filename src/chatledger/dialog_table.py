"""An entry of the dialog's table, as it stands on the changelog topic under the conversation's id.

`{"offset":N,"state":{...}}`: the folded state, and the offset of the last input that it holds, -1 for none of this
life of the broker. The offset is the worker's own bookkeeping and no part of history.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from chatledger.conversation import Conversation, encode_state

OFFSET_NONE = -1
"""The state was rebuilt from history: to which input of the topic it has come is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the dialog's table."""

    state: Conversation
    offset: int


_ENTRY = TypeAdapter(Entry)


def encode_entry(state: Conversation, offset: int) -> bytes:
    """Return the value of an entry. The same state and offset are the same bytes."""
    return b'{"offset":%d,"state":%b}' % (offset, encode_state(state))


def decode_entry(value: bytes) -> Entry:
    """Read what `encode_entry` wrote. Raises pydantic.ValidationError when it is something else."""
    return _ENTRY.validate_json(value)
