"""The invariants that compare the ledger with the broker: what is recorded, and the dialog's live table."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from chatledger import topics
from chatledger.conversation import encode_state
from chatledger.dialog_table import decode_entry
from chatledger.ports import Positions, TopicPartition
from chatledger.replay import States
from chatledger_ledger.broker_view import DialogTable, TopicExtent
from chatledger_ledger.findings import Finding, finding_of
from chatledger_ledger.invariants import I1, I5

I8 = "recorded positions are within the topics, and nothing is left to record"

Extents = Mapping[TopicPartition, TopicExtent]


def inbound_is_recorded(extents: Extents, positions: Positions) -> Finding:
    """I1 at the broker: nothing on chat.inbound is missing from the ledger."""
    complaints = [
        f"{_name(partition)}: {extent.end - positions.get(partition, 0)} records are not in the ledger"
        for partition, extent in extents.items()
        if partition.topic == topics.INBOUND and extent.end > positions.get(partition, 0)
    ]
    return finding_of("I1", I1, checked=len(extents), complaints=complaints)


def table_is_the_fold(table: DialogTable, states: States) -> Finding:
    """I5, second half: each entry of the live table is what history folds to."""
    complaints = []
    for conversation in sorted(table.entries.keys() | states.keys()):
        value, state = table.entries.get(conversation), states.get(conversation)
        if value is None:
            if not table.is_partial:
                complaints.append(f"{conversation} is in history and not in the dialog's table")
            continue
        try:
            live = decode_entry(value).state
        except ValidationError:
            complaints.append(f"{conversation}: its entry in the dialog's table is unreadable")
            continue
        if state is None:
            complaints.append(f"{conversation} is in the dialog's table and not in history")
        elif encode_state(live) != encode_state(state):
            complaints.append(
                f"{conversation}: the dialog's table has version {live.version} ({live.status}),"
                f" history {state.version} ({state.status})"
            )
    note = (
        "the broker dropped old records of the changelog: only what is left was compared" if table.is_partial else None
    )
    return finding_of("I5", I5, checked=len(table.entries), complaints=complaints, note=note)


def positions_are_at_the_ends(extents: Extents, positions: Positions) -> Finding:
    """I8: no position is above its topic's end, and lag is 0."""
    complaints = []
    for partition in sorted(extents.keys() | positions.keys()):
        end = extents[partition].end if partition in extents else 0
        position = positions.get(partition, 0)
        if position > end:
            complaints.append(f"{_name(partition)}: position {position} is above the topic's end {end}")
        elif position < end:
            complaints.append(f"{_name(partition)}: position {position}, the topic ends at {end}")
    return finding_of("I8", I8, checked=len(extents), complaints=complaints)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
