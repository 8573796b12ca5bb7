"""How streams began of which a batch has only the end: what a row is folded from that is made from a whole stream."""

from __future__ import annotations

from collections.abc import Iterable

from chatledger.adapters.ledger_records import ledger_event
from chatledger.adapters.ledger_rows import record_of_row
from chatledger.adapters.postgres import Connection
from chatledger.adapters.sql_files import named_statements
from chatledger.events.envelope import Envelope

_QUERIES = named_statements("chatledger.adapters.rebuilding", "beginnings.sql")


async def beginnings(connection: Connection, envelopes: Iterable[Envelope]) -> dict[str, list[Envelope]]:
    """Return for the stream of each of `envelopes` what the ledger has before the first of them, oldest first."""
    versions: dict[str, int] = {}
    for envelope in envelopes:
        versions.setdefault(envelope.stream, envelope.stream_version or 1)
    found: dict[str, list[Envelope]] = {stream: [] for stream in versions}
    later = {stream: version for stream, version in versions.items() if version > 1}
    if later:
        wanted = {"streams": list(later), "versions": list(later.values())}
        rows = await connection.execute(_QUERIES["beginnings"], wanted)
        for kept in map(record_of_row, await rows.fetchall()):
            event = ledger_event(kept.record, position=kept.position, recorded_at=kept.recorded_at)
            found[event.envelope.stream].append(event.envelope)
    return found
