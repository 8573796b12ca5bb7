"""The conversations in this worker's memory: the table's bytes, and beside them the states decoded lately.

The table holds every conversation of the worker's partitions, as bytes: 500 of them for a client who ordered once,
up to 10 KB for one who never stops writing. Decoding takes 3 µs for the former and grows with the state; a client who
is writing now is found decoded. With 100,000 conversations the process takes 190 MB, 80 of them with none.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from pydantic import ValidationError

from chatledger.dialog_table import Entry, decode_entry
from chatledger.errors import InvariantViolated

DECODED_MAX = 10_000
"""Conversations kept decoded; each takes about as much again as its bytes."""


class States:
    """Reads and installs entries. `stored` is the table's own mapping from key to value."""

    def __init__(self, stored: MutableMapping[bytes, bytes], *, decoded_max: int = DECODED_MAX) -> None:
        self._stored = stored
        self._decoded: dict[bytes, Entry] = {}
        self._decoded_max = decoded_max

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, key: bytes) -> Entry | None:
        """The entry of one conversation, or None. Raises InvariantViolated when the table's value is unreadable."""
        entry = self._decoded.pop(key, None)
        if entry is None:
            value = self._stored.get(key)
            if value is None:
                return None
            entry = _decode(value)
        self._keep(key, entry)
        return entry

    def put(self, key: bytes, entry: Entry, value: bytes) -> None:
        """Install what the changelog has acknowledged; `value` is the encoded entry."""
        self._stored[key] = value
        self._decoded.pop(key, None)
        self._keep(key, entry)

    def forget(self) -> None:
        """Drop what is decoded: another worker may have moved the table on."""
        self._decoded.clear()

    def _keep(self, key: bytes, entry: Entry) -> None:
        # A dict keeps the order of insertion, so the first key is the one used longest ago.
        self._decoded[key] = entry
        if len(self._decoded) > self._decoded_max:
            del self._decoded[next(iter(self._decoded))]


def _decode(value: bytes) -> Entry:
    try:
        return decode_entry(value)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InvariantViolated(
            f"a state in the changelog is unreadable ({field}: {first['msg']}): rebuild it from the ledger,"
            " chatledger rebuild dialog"
        ) from None
