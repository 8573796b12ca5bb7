"""Orders and invoices from recorded history: the aggregates' own fold, and the read model's row of its result. Pure.

The same functions make what is shown of an order today and what is shown of it as it was, so that the two agree.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from chatledger.events.base import UnknownEvent
from chatledger.events.envelope import Envelope
from chatledger.events.ids import ORDER_NUMBER_ALPHABET
from chatledger_billing.decisions import Cause, Decision
from chatledger_billing.invoices import Invoice
from chatledger_billing.projection import invoice_row, order_row
from chatledger_billing.snapshots import Snapshot, after

NOT_IN_HISTORY = ("position",)
"""A row's place in billing's own log, which orders pages."""
DIGITS = 8
"""Of an order's number, without its hyphen."""


def step(before: Snapshot | None, envelope: Envelope) -> Snapshot | None:
    """Fold one event of the stream of an order or an invoice; None until the first one that says what it is.

    A second copy changes nothing, and an event of a type that is not known here changes the version alone. Raises
    InvariantViolated for an event that cannot have happened.
    """
    version = envelope.stream_version
    if version is None or (before is not None and version <= before.state.version):
        return before
    if isinstance(envelope.data, UnknownEvent):
        return None if before is None else _passed_over(before, envelope)
    return after(before, decision_of(envelope))


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """Return the row that the read model has for it, as JSON has its values."""
    row = invoice_row(snapshot, 0) if isinstance(snapshot.state, Invoice) else order_row(snapshot, 0)
    kept = {name: value for name, value in row.items() if name not in NOT_IN_HISTORY}
    written: dict[str, Any] = orjson.loads(orjson.dumps(kept, option=orjson.OPT_UTC_Z))
    return written


def decision_of(envelope: Envelope) -> Decision:
    """Return the decision that was published as `envelope`."""
    assert envelope.stream_version is not None, "billing numbers its events"
    return Decision(
        originator_id=envelope.stream,
        originator_version=envelope.stream_version,
        cause=Cause(
            conversation=envelope.conversation,
            time=envelope.time,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id or envelope.id,
            traceparent=envelope.traceparent,
        ),
        event=envelope.data,
    )


def _passed_over(before: Snapshot, envelope: Envelope) -> Snapshot:
    # Order and Invoice count versions alike, but `replace` of a union loses which one it is.
    counted = before.state.version + 1
    state = before.state
    if isinstance(state, Invoice):
        return replace(before, state=replace(state, version=counted), changed_at=envelope.time)
    return replace(before, state=replace(state, version=counted), changed_at=envelope.time)


def order_id_prefix(number: str) -> str | None:
    """Return what the id of an order with this number begins with; None for what is no order's number.

    A number is the first 40 bits of the id: see `chatledger.events.ids.order_number`.
    """
    digits = number.replace("-", "").upper()
    if len(digits) != DIGITS or not set(digits) <= set(ORDER_NUMBER_ALPHABET):
        return None
    bits = 0
    for digit in digits:
        bits = bits << 5 | ORDER_NUMBER_ALPHABET.index(digit)
    text = f"{bits:010x}"
    return f"{text[:8]}-{text[8:]}"
