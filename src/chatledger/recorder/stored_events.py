"""Stored events of the library as rows of the ledger, and rows of the ledger as stored events. Pure.

A state that is a JSON object is kept as one, so that it can be queried; it comes back with the same members, in the
order and the spacing of jsonb. Any other state, such as one that is compressed or encrypted, comes back byte for byte.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from chatledger.events.ids import derive_id
from chatledger.ports import LedgerEvent
from chatledger.replay import read_event_line

TOPIC = "eventsourcing"
"""In the column `topic` of what the library recorded: it came by no topic of Kafka."""
SOURCE = "/eventsourcing"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LINE_START, _LINE_END = b'{"ledger_event":', b"}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """A row before it has a position. `data` and `metadata` are JSON; None as a time: that of the recording."""

    id: str
    stream: str
    version: int
    type: str
    data: str
    metadata: str
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """An event that chatledger recorded, as the library hands it to projections. `event.envelope.data` is the fact.

    The version is 0 where the event has none, because it came from outside.
    """

    originator_id: str
    originator_version: int
    event: LedgerEvent


def row_of(stored: StoredEvent) -> NewRow:
    """Return the row that keeps a stored event. Its id is derived from its place, so it is the same each time."""
    stream = str(stored.originator_id)
    event_id = derive_id(TOPIC, stream, stored.originator_version)
    state = _json_object(stored.state)
    metadata: dict[str, Any] = {
        "source": SOURCE,
        "conversation": stream,
        "schemaversion": 1 if state is None else _schema_version(state),
        "correlationid": event_id,
        "causationid": None,
        "traceparent": None,
    }
    if state is None:
        metadata["encoding"] = "base64"
        data = orjson.dumps({"base64": base64.b64encode(stored.state).decode()})
    else:
        data = stored.state
    return NewRow(
        id=event_id,
        stream=stream,
        version=stored.originator_version,
        type=stored.topic,
        data=data.decode(),
        metadata=orjson.dumps(metadata).decode(),
        occurred_at=None if state is None else _timestamp(state),
    )


def originator_of(stream: str, *, as_uuid: bool) -> UUID | str:
    """Return a stream's name as the library names it: with `as_uuid` a UUID where it is one."""
    return UUID(stream) if as_uuid and _UUID.fullmatch(stream) else stream


def state_of_row(row: Mapping[str, Any]) -> bytes:
    """Return the state that was stored; of chatledger's own events the whole row, for `LedgerMapper` to read."""
    if row["topic"] != TOPIC:
        columns = {name: row[name] for name in _COLUMNS if name not in ("data", "metadata")}
        columns |= {"data": orjson.Fragment(row["data"]), "metadata": orjson.Fragment(row["metadata"])}
        return _LINE_START + orjson.dumps(columns, option=orjson.OPT_UTC_Z) + _LINE_END
    data: str = row["data"]
    if orjson.loads(row["metadata"]).get("encoding") == "base64":
        return base64.b64decode(orjson.loads(data)["base64"])
    return data.encode()


class LedgerMapper(Mapper[Any]):
    """The library's mapper, which reads chatledger's own events too."""

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[Any]:
        """Return the library's domain event, or a `HistoryEvent`, lifted to today's class."""
        state = stored_event.state
        if not state.startswith(_LINE_START):
            return super().to_domain_event(stored_event)
        event = HistoryEvent(
            originator_id=str(stored_event.originator_id),
            originator_version=stored_event.originator_version,
            event=read_event_line(state[len(_LINE_START) : -len(_LINE_END)]),
        )
        return cast("DomainEventProtocol[Any]", event)


_COLUMNS = (
    "position",
    "id",
    "stream",
    "version",
    "type",
    "data",
    "metadata",
    "occurred_at",
    "recorded_at",
    "topic",
    "partition",
    "source_offset",
)


def _json_object(state: bytes) -> dict[str, Any] | None:
    """Read a state that jsonb keeps; None where it is no JSON object, or has a NUL character."""
    if not state.startswith(b"{") or b"\\u0000" in state:
        return None
    try:
        found = orjson.loads(state)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _schema_version(state: Mapping[str, Any]) -> int:
    version = state.get("class_version")
    return version if isinstance(version, int) and version > 0 else 1


def _timestamp(state: Mapping[str, Any]) -> datetime | None:
    """When the library's domain event says that it happened, as its JSONTranscoder writes it."""
    written = state.get("timestamp")
    try:
        time = datetime.fromisoformat(written["_data_"] if isinstance(written, dict) else written or "")
    except (KeyError, TypeError, ValueError):
        return None
    return time if time.tzinfo else None
