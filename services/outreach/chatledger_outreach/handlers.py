"""What records of other services' topics mean to this one: which are of interest, and what is done about a batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chatledger.adapters.postgres import Connection
from chatledger.dead_letters import dead_letter
from chatledger.errors import UndecodableRecord
from chatledger.events import cart, deliveries, dialog, inbound, inventory, orders
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.codec import from_wire
from chatledger.events.envelope import Envelope, is_conversation
from chatledger.ports import ConsumedRecord
from chatledger.topics import BILLING, DIALOG, INBOUND, INVENTORY, NOTIFY
from chatledger_outreach import campaign_tracking, clients
from chatledger_outreach.parts import Outreach
from chatledger_outreach.reminding import Reminding
from chatledger_outreach.settings import SERVICE

TOPICS = (INBOUND, DIALOG, BILLING, NOTIFY, INVENTORY)
OF_INTEREST: tuple[type[Event], ...] = (
    inbound.MessageReceived,
    dialog.ConversationStarted,
    dialog.ConversationRestarted,
    dialog.ClientOptedOut,
    dialog.ClientOptedIn,
    dialog.OrderPlaced,
    dialog.OrderCancelled,
    dialog.NoticeDecided,
    cart.ItemsAdded,
    cart.ItemsRefused,
    cart.ItemRemoved,
    cart.DiscountApplied,
    cart.CartAbandoned,
    orders.OrderCreated,
    orders.OrderAdvanced,
    orders.InvoiceIssued,
    orders.InvoicePaid,
    orders.InvoiceVoided,
    deliveries.MessageSent,
    deliveries.MessageFailed,
    deliveries.MessageBlocked,
    deliveries.MessageDelivered,
    deliveries.MessageRead,
    deliveries.MessageUndelivered,
    inventory.InventoryUpdated,
)
"""`order.cancelled` comes from the dialog, for an order that was not placed, and from billing, for one that was."""
_TYPES = frozenset(event_class.type.encode() for event_class in OF_INTEREST)


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a batch of records comes to, in the order of its records; each envelope with its record."""

    envelopes: list[Envelope] = field(default_factory=list)
    records: list[ConsumedRecord] = field(default_factory=list)
    dead_letters: list[Envelope] = field(default_factory=list)


def is_of_interest(record: ConsumedRecord, projects: Collection[bytes]) -> bool:
    """Whether a record is to be decoded: by its key, of one of `projects`, and by its type, which may be missing."""
    if record.key is None or record.key.partition(b"/")[0] not in projects:
        return False
    kind = next((value for name, value in record.headers if name == "ce_type"), None)
    return kind is None or kind in _TYPES


def read_batch(
    records: Sequence[ConsumedRecord], *, projects: Collection[bytes], incarnation: str, now: datetime
) -> Batch:
    """Decode what is of interest; anything else is passed over by its key and one header. Pure.

    `projects` are the names of the projects that have an outreach section.
    """
    batch = Batch()
    for record in records:
        if not is_of_interest(record, projects):
            continue
        try:
            envelope = from_wire(record.headers, record.value)
            if not is_conversation(envelope.conversation):
                raise UndecodableRecord("ce_subject is not of the form project/channel/client")
            if isinstance(envelope.data, UnknownEvent):
                raise UndecodableRecord(f"{envelope.data.type_name} has a schema version that is not known here")
            batch.envelopes.append(envelope)
            batch.records.append(record)
        except UndecodableRecord as wrong:
            batch.dead_letters.append(dead_letter(record, wrong, service=SERVICE, incarnation=incarnation, now=now))
    return batch


async def handle(connection: Connection, envelopes: Sequence[Envelope], outreach: Outreach) -> None:
    """Do what follows from a batch, within the caller's transaction."""
    # Clients first: what they speak and where they are is needed for what is then said to them.
    await clients.update(connection, envelopes, outreach.projects)
    reminding = Reminding(outreach)
    for envelope in envelopes:
        await reminding.react(connection, envelope)
    await campaign_tracking.track(connection, envelopes)
