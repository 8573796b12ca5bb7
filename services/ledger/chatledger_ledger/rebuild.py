"""The dialog's table from history: every conversation's folded state onto the changelog topic.

The partition of an entry is the murmur2 hash of its key, as aiokafka's default partitioner and every Kafka client take
it; so an entry lies beside the conversation's inputs, where the worker of that partition looks for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from chatledger import topics
from chatledger.dialog_table import OFFSET_NONE, encode_entry
from chatledger.events.codec import Headers
from chatledger.ports import LedgerReader
from chatledger.replay import fold_ledger

PublishRaw = Callable[[str, Sequence[tuple[bytes, bytes | None, Headers]]], Awaitable[None]]
"""As `KafkaPublisher.publish_raw`: topic, then records of key, value and headers."""

ENTRIES_PER_PUBLISH = 500


async def rebuild_dialog(reader: LedgerReader, publish_raw: PublishRaw, *, topic: str = topics.CHANGELOG) -> int:
    """Fold the whole ledger and publish every conversation's entry; return how many there are.

    No dialog worker may use the topic meanwhile. What was decided and not recorded yet is missing: workers fold it
    themselves where `topics.TABLE_VERSIONS` says from where on. Raises BrokerUnavailable.
    """
    states = await fold_ledger(reader.read())
    entries: list[tuple[bytes, bytes | None, Headers]] = [
        (conversation.encode(), encode_entry(state, OFFSET_NONE), ()) for conversation, state in states.items()
    ]
    for start in range(0, len(entries), ENTRIES_PER_PUBLISH):
        await publish_raw(topic, entries[start : start + ENTRIES_PER_PUBLISH])
    return len(entries)
