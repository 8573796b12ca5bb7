"""What an event says in the words of an object-centric event log: which objects it is about, what changes. Pure.

Objects are clients, conversations, orders, invoices and messages. An object's id begins with its type, so that no two
of different types are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any, Literal, get_args, get_type_hints

import orjson
from pydantic import AwareDatetime

from chatledger.events import dialog, inbound, orders, outreach
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.codec import type_and_version
from chatledger.history.messages import OUTCOMES
from chatledger.history.rows import parts_of
from chatledger.ports import LedgerEvent

ObjectType = Literal["client", "conversation", "order", "invoice", "message"]
Column = Literal["TEXT", "INTEGER", "BOOLEAN", "TIMESTAMP"]

OBJECT_TYPES: Mapping[ObjectType, Mapping[str, Column]] = {
    "client": {"project": "TEXT", "client_id": "TEXT", "tags": "TEXT"},
    "conversation": {
        "project": "TEXT",
        "channel": "TEXT",
        "flow": "TEXT",
        "language": "TEXT",
        "opted_out": "BOOLEAN",
    },
    "order": {"order_number": "TEXT", "currency": "TEXT", "lines": "INTEGER", "status": "TEXT"},
    "invoice": {
        "number": "TEXT",
        "currency": "TEXT",
        "total_minor": "INTEGER",
        "tax_minor": "INTEGER",
        "issued_on": "TIMESTAMP",
        "due_on": "TIMESTAMP",
        "paid_minor": "INTEGER",
        "status": "TEXT",
    },
    "message": {"direction": "TEXT", "channel": "TEXT", "purpose": "TEXT", "status": "TEXT"},
}
"""The attributes of each type of object. Amounts are in minor units of the currency."""

LEDGER_COLUMNS: Mapping[str, Column] = {
    "ledger_position": "INTEGER",
    "ledger_recorded_at": "TIMESTAMP",
    "ledger_stream": "TEXT",
    "ledger_causation_id": "TEXT",
}
"""What every event has beside its own fields."""

ORDER_STATUSES: Mapping[type[Event], str] = {
    dialog.OrderPlaced: "placed",
    orders.OrderCreated: "draft",
    orders.OrderConfirmed: "confirmed",
    dialog.OrderCancelled: "cancelled",
}
INVOICE_STATUSES: Mapping[type[Event], str] = {
    orders.InvoiceIssued: "issued",
    orders.InvoicePaid: "paid",
    orders.InvoiceVoided: "void",
}
_DELIVERY_STATUSES: Mapping[type[Event], str] = {
    inbound.MessageReceived: "received",
    dialog.ReplyRequested: "requested",
    **OUTCOMES,
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: its type and its id."""

    type: ObjectType
    id: str

    @property
    def ocel_id(self) -> str:
        """Its id in the log."""
        return f"{self.type}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one event says.

    `things` are the objects that it is about, each with how it is related to the event; `known` are attributes that
    they have had from the beginning, `changes` what they have from now on. `paid_minor` is what an invoice was paid.
    """

    things: Mapping[Thing, str]
    links: tuple[tuple[Thing, Thing, str], ...] = ()
    known: Mapping[Thing, Mapping[str, Any]] = field(default_factory=dict)
    changes: tuple[tuple[Thing, str, Any], ...] = ()
    paid_minor: tuple[Thing, int] | None = None


def facts_of(event: LedgerEvent) -> Facts:
    """Return what an event says; of one that this code does not know, whose it is."""
    envelope, data = event.envelope, event.envelope.data
    project, channel, client_id = parts_of(envelope.conversation)
    order_id, invoice_id, message_id = _ids(event)
    found: dict[str, Thing] = {}
    if client_id is not None:
        found["client"] = Thing("client", f"{project}/{client_id}")
        found["conversation"] = Thing("conversation", envelope.conversation)
    if order_id:
        found["order"] = Thing("order", order_id)
    if invoice_id:
        found["invoice"] = Thing("invoice", invoice_id)
    if message_id:
        found["message"] = Thing("message", message_id)
    known: dict[Thing, Mapping[str, Any]] = {}
    if client_id is not None:
        known[found["client"]] = {"project": project, "client_id": client_id}
        known[found["conversation"]] = {"project": project, "channel": channel}
    for thing in (found[kind] for kind in ("order", "invoice", "message") if kind in found):
        if attributes := _known(thing, data):
            known[thing] = attributes
    return Facts(
        things={thing: _qualifier(thing, data) for thing in found.values()},
        links=tuple(_links(found)),
        known=known,
        changes=tuple(_changes(found, data)),
        paid_minor=_paid(found, data),
    )


def type_of(event: Event) -> str:
    """The name of an event's type in the log; those that this code cannot read are types of their own."""
    name = type_and_version(event)[0]
    return f"{name} (unknown)" if isinstance(event, UnknownEvent) else name


def event_columns(event_class: type[Event]) -> dict[str, Column]:
    """The columns of a type of event: the ledger's, then its own fields, those with parts as JSON."""
    columns = dict(LEDGER_COLUMNS)
    if event_class is UnknownEvent:
        return columns | {"data": "TEXT"}
    hints = get_type_hints(event_class)
    return columns | {each.name: _column(hints[each.name]) for each in fields(event_class)}


def event_values(event: LedgerEvent) -> list[Any]:
    """The values of these columns."""
    envelope, data = event.envelope, event.envelope.data
    own = (data.data,) if isinstance(data, UnknownEvent) else (getattr(data, each.name) for each in fields(data))
    told = (event.position, event.recorded_at, envelope.stream, envelope.causation_id, *own)
    return [as_value(each) for each in told]


def as_value(value: Any) -> Any:
    """A value as SQLite keeps it. Times are ISO 8601 in UTC, all with microseconds, so that one format reads them."""
    match value:
        case None | str():
            return value
        case bool():
            return int(value)
        case int():
            # Beyond 64 bits SQLite has no integers.
            return value if -(2**63) <= value < 2**63 else str(value)
        case datetime():
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        case date():
            return f"{value.isoformat()}T00:00:00.000000Z"
    return orjson.dumps(value).decode()


def _column(hint: Any) -> Column:
    kinds = {part for part in (get_args(hint) or (hint,)) if part is not type(None)}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int}:
        return "INTEGER"
    return "TIMESTAMP" if kinds and kinds <= {datetime, date, AwareDatetime} else "TEXT"


def _ids(event: LedgerEvent) -> tuple[str | None, str | None, str | None]:
    """The ids of the order, the invoice and the message that an event is about."""
    data = event.envelope.data
    invoice = getattr(data, "invoice", None)
    holders = [data] if invoice is None else [invoice, data]
    order_id, invoice_id, message_id = (
        next((found for holder in holders if isinstance(found := getattr(holder, name, None), str)), None)
        for name in ("order_id", "invoice_id", "delivery_id")
    )
    if isinstance(data, inbound.MessageReceived | dialog.ReplyRequested):
        message_id = event.envelope.id
    return order_id, invoice_id, message_id


def _known(thing: Thing, data: Event) -> dict[str, Any]:
    match thing.type, data:
        case "order", dialog.OrderPlaced() | orders.OrderCreated():
            return {"order_number": data.order_number, "currency": data.currency, "lines": len(data.lines)}
        case "invoice", orders.InvoiceIssued():
            names = ("number", "currency", "total_minor", "tax_minor", "issued_on", "due_on")
            return {name: getattr(data, name) for name in names}
        case "message", inbound.MessageReceived():
            return {"direction": "in", "channel": data.channel}
        case "message", dialog.ReplyRequested():
            return {"direction": "out", "channel": data.channel, "purpose": data.purpose}
    return {}


def _qualifier(thing: Thing, data: Event) -> str:
    """How an object is related to an event: by the event's own verb where it is the object's, else in a word."""
    family, _, verb = data.type.partition(".")
    own = {"reply": "message", "delivery": "message", "payment": "invoice"}.get(family, family)
    if own == thing.type and verb:
        return verb.replace("_", " ")
    return {"conversation": "in", "client": "of"}.get(thing.type, "about")


def _links(found: Mapping[str, Thing]) -> Iterator[tuple[Thing, Thing, str]]:
    conversation = found.get("conversation")
    if conversation is not None:
        yield conversation, found["client"], "of client"
        if "order" in found:
            yield found["order"], conversation, "placed in"
        if "message" in found:
            yield found["message"], conversation, "part of"
    if "invoice" in found and "order" in found:
        yield found["invoice"], found["order"], "for order"


def _changes(found: Mapping[str, Thing], data: Event) -> Iterator[tuple[Thing, str, Any]]:
    if "order" in found:
        status = data.status if isinstance(data, orders.OrderAdvanced) else ORDER_STATUSES.get(type(data))
        if status is not None:
            yield found["order"], "status", status
    if "invoice" in found and type(data) in INVOICE_STATUSES:
        yield found["invoice"], "status", INVOICE_STATUSES[type(data)]
    if "message" in found and type(data) in _DELIVERY_STATUSES:
        yield found["message"], "status", _DELIVERY_STATUSES[type(data)]
    if "conversation" in found:
        conversation, client = found["conversation"], found["client"]
        match data:
            case dialog.ConversationStarted():
                yield conversation, "flow", data.flow
                yield conversation, "language", data.language
            case dialog.ClientOptedOut() | dialog.ClientOptedIn():
                yield conversation, "opted_out", isinstance(data, dialog.ClientOptedOut)
            case outreach.ClientTagged():
                yield client, "tags", list(data.tags)


def _paid(found: Mapping[str, Thing], data: Event) -> tuple[Thing, int] | None:
    match data:
        case orders.PaymentRecorded():
            return found["invoice"], data.amount_minor
        case orders.PaymentRefunded():
            return found["invoice"], -data.amount_minor
    return None
