"""What history can be asked about: conversations, orders and invoices, each with the fold of whoever owns it.

The command line and the HTTP port take their kinds from here, so that both give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg

from chatledger.conversation import Conversation, encode_state, evolve, initial
from chatledger.errors import OutsideUnavailable
from chatledger.events import dialog, inbound
from chatledger.events.envelope import Envelope
from chatledger_billing import history as billing_history
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.read_model import ReadModel
from chatledger_ledger.kinds import Kind, Reference, Shown
from chatledger_ledger.time_travel import FindNumber


def _conversation_step(state: Conversation | None, envelope: Envelope) -> Conversation:
    known = state or initial()
    is_new = envelope.stream_version is not None and envelope.stream_version > known.version
    return evolve(known, envelope) if is_new else known


def _conversation_shown(state: Conversation) -> Shown:
    written: Shown = orjson.loads(encode_state(state))
    return written


def _named_in(envelope: Envelope) -> Iterable[Reference]:
    """The orders and invoices that an event of a conversation names; an order's invoice has an id made from its own."""
    event: Any = envelope.data
    if isinstance(event, dialog.OrderPlaced | dialog.OrderNoted | inbound.OrderReported):
        yield Reference(kind=ORDER.name, id=event.order_id)
        yield Reference(kind=INVOICE.name, id=invoice_id_of(event.order_id))
    elif isinstance(event, dialog.InvoiceNoted | inbound.InvoiceReported):
        yield Reference(kind=ORDER.name, id=event.invoice.order_id)
        yield Reference(kind=INVOICE.name, id=event.invoice.invoice_id)


CONVERSATION = Kind(
    name="conversation",
    plural="conversations",
    step=_conversation_step,
    shown=_conversation_shown,
    unbegun=_conversation_shown(initial()),
    names=_named_in,
    quiet=frozenset({"version", "handled", "recent_ms"}),
)
ORDER = Kind(
    name="order",
    plural="orders",
    step=billing_history.step,
    shown=billing_history.shown,
    id_prefix=billing_history.order_id_prefix,
    quiet=frozenset({"version"}),
)
INVOICE = Kind(
    name="invoice",
    plural="invoices",
    step=billing_history.step,
    shown=billing_history.shown,
    quiet=frozenset({"version"}),
)
KINDS = (CONVERSATION, ORDER, INVOICE)


def numbers_in(read_model: ReadModel) -> FindNumber:
    """Return what finds an id by its number in billing's read model: an invoice's id says nothing of its number."""

    async def find(kind: str, number: str, project: str | None) -> list[str]:
        look = {ORDER.name: read_model.find_orders, INVOICE.name: read_model.find_invoices}.get(kind)
        return [] if look is None else [row["id"] for row in await look(number, project)]

    return find


def numbers_at(url: str) -> FindNumber:
    """Do the same with a connection of its own; where billing's tables are not there, or not to be read, nothing is."""

    async def find(kind: str, number: str, project: str | None) -> Sequence[str]:
        try:
            async with ReadModel(url) as read_model:
                return await numbers_in(read_model)(kind, number, project)
        except (OutsideUnavailable, psycopg.errors.InsufficientPrivilege):
            return ()

    return find
