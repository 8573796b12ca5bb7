"""Where recorded history comes from, as lines of NDJSON: the ledger, or a file that `chatledger replay` wrote.

Only what decisions are made of is handed on: inputs, the dialog's own events, its dead letters, and stock and prices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from chatledger import topics
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.ledger_rows import RecordedRow, row_line
from chatledger.errors import ConfigurationError
from chatledger.events.codec import parse_time
from chatledger.events.envelope import project_of
from chatledger.events.inbound import DeliveryReported
from chatledger.events.inventory import InventoryUpdated
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import Selection

DECIDING = (topics.INBOUND, topics.DIALOG)
Line = bytes | None
"""An event with its line end; None for one that was read and is about no decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of history that is looked at; None does not bound. `until` is recorded time."""

    until: datetime | None = None
    project: str | None = None
    conversation: str | None = None


class Source(Protocol):
    """Recorded history, in the order of positions."""

    async def count(self) -> int:
        """How many events `history` goes through."""
        ...

    def history(self) -> AsyncIterator[Line]:
        """Yield a line for each event of the part."""
        ...

    def inventory(self) -> AsyncIterator[Line]:
        """Yield what was recorded of stock and prices."""
        ...

    def of_conversations(self, names: Collection[str]) -> AsyncIterator[Line]:
        """Yield the history of these conversations alone."""
        ...


class LedgerSource:
    """The ledger in Postgres."""

    def __init__(self, reader: PostgresLedgerReader, part: Part) -> None:
        self._reader = reader
        self._part = part
        stream = None if part.conversation is None else f"conversation-{part.conversation}"
        self._selection = Selection(until_time=part.until, project=part.project, stream=stream)

    async def count(self) -> int:
        """How many rows there are."""
        return await self._reader.count(self._selection)

    async def history(self) -> AsyncIterator[Line]:
        """Yield a line for each row."""
        async for kept in self._reader.records(self._selection):
            yield _line(kept) if _matters(kept.record.topic, kept.record.type) else None

    async def inventory(self) -> AsyncIterator[Line]:
        """Read all of history for it; there is little of it."""
        part, types = self._part, (InventoryUpdated.type,)
        project = part.project if part.conversation is None else project_of(part.conversation)
        async for kept in self._reader.records(Selection(until_time=part.until, project=project, types=types)):
            yield _line(kept)

    async def of_conversations(self, names: Collection[str]) -> AsyncIterator[Line]:
        """Read their streams, one by one, by the index."""
        for name in names:
            selection = Selection(stream=f"conversation-{name}", until_time=self._part.until)
            async for kept in self._reader.records(selection):
                if _matters(kept.record.topic, kept.record.type):
                    yield _line(kept)


class FileSource:
    """A file of NDJSON. A line that is no event is handed on as well: whoever decodes it counts it."""

    def __init__(self, path: Path, part: Part) -> None:
        self._path = path
        self._part = part

    async def count(self) -> int:
        """How many lines it has. Raises ConfigurationError where it cannot be read."""
        try:
            with self._path.open("rb") as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        except OSError as wrong:
            raise ConfigurationError(f"--history {self._path}: cannot be read: {wrong.strerror}") from wrong

    async def history(self) -> AsyncIterator[Line]:
        """Yield each line that matters."""
        for line, columns in self._lines():
            is_meant = columns is None or (
                self._part.conversation in (None, _conversation(columns))
                and _matters(columns.get("topic"), columns.get("type"))
            )
            yield line if is_meant else None

    async def inventory(self) -> AsyncIterator[Line]:
        """Yield the lines about it."""
        for line, columns in self._lines():
            if columns is not None and columns.get("type") == InventoryUpdated.type:
                yield line

    async def of_conversations(self, names: Collection[str]) -> AsyncIterator[Line]:
        """Go through the file once more."""
        for line, columns in self._lines():
            matters = columns is not None and _matters(columns.get("topic"), columns.get("type"))
            if columns is not None and matters and _conversation(columns) in names:
                yield line

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Yield each line of the part, and its columns; None for one that is no event."""
        part = self._part
        with self._path.open("rb") as file:
            for line in file:
                columns = _columns(line)
                if columns is not None:
                    if part.project not in (None, project_of(_conversation(columns))):
                        continue
                    if part.until is not None and parse_time(columns["recorded_at"]) > part.until:
                        continue
                yield line if line.endswith(b"\n") else line + b"\n", columns


def _matters(topic: Any, type_name: Any) -> bool:
    if topic == topics.DEAD:
        return bool(type_name == RecordDeadLettered.type)
    return topic in DECIDING and type_name != DeliveryReported.type


def _columns(line: bytes) -> dict[str, Any] | None:
    try:
        columns = orjson.loads(line)
        parse_time(columns["recorded_at"])
        _conversation(columns)
    except (ValueError, KeyError, TypeError):
        return None
    return columns if isinstance(columns, dict) else None


def _conversation(columns: dict[str, Any]) -> str:
    conversation = columns["metadata"]["conversation"]
    if not isinstance(conversation, str):
        raise TypeError("a conversation is a text")
    return conversation


def _line(kept: RecordedRow) -> bytes:
    return row_line(kept) + b"\n"
