"""An entry of the dialog's table, as it stands on the changelog topic under the conversation's id.

`{"offset":N,"state":{...}}`: the folded state, and the offset of the last input that it holds, -1 for none of this
life of the broker. The offset is the worker's own bookkeeping and no part of history.

A table that was rebuilt from the ledger is another version of it, with a changelog of its own. Which one is live says
the topic `topics.TABLE_VERSIONS`: one record switches all workers, and one per partition says that its worker has
folded what was decided since the table was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import orjson
from pydantic import TypeAdapter

from chatledger import topics
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """Which version is live. `cuts` says, by partition, from which offset of chat.dialog on events may be missing."""

    version: int = 1
    cuts: Mapping[int, int] = field(default_factory=dict)
    caught_up: frozenset[int] = frozenset()

    @property
    def changelog(self) -> str:
        """The topic that holds it."""
        return topics.changelog(self.version)

    def missing_from(self, partition: int) -> int | None:
        """The offset of chat.dialog to fold from before a partition is used; None where nothing is missing."""
        return None if partition in self.caught_up else self.cuts.get(partition)


def encode_switch(version: int, cuts: Mapping[int, int]) -> tuple[bytes, bytes]:
    """Return key and value of the record that makes `version` the live one."""
    return b"live", orjson.dumps({"version": version, "cuts": {str(each): cuts[each] for each in sorted(cuts)}})


def encode_caught_up(version: int, partition: int) -> tuple[bytes, bytes]:
    """Return key and value of the record that says that nothing is missing in a partition any more."""
    return b"caught-up/%d" % partition, orjson.dumps({"version": version, "partition": partition})


def live_table(records: Iterable[tuple[bytes | None, bytes | None]], live: LiveTable | None = None) -> LiveTable:
    """Fold the records of `topics.TABLE_VERSIONS`, in order, onto what is known. Raises ValueError on any other."""
    live = live or LiveTable()
    for key, value in records:
        said = orjson.loads(value or b"")
        if key == b"live":
            live = LiveTable(
                version=said["version"], cuts={int(partition): offset for partition, offset in said["cuts"].items()}
            )
        elif said["version"] == live.version:
            live = replace(live, caught_up=live.caught_up | {said["partition"]})
    return live
