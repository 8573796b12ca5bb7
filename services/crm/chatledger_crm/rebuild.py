"""Which tables of crm can be made anew from the ledger: the last copy of stock and prices.

Two of its columns no event tells, and they are taken over from the live row: by which id the CRM knows a product, and
when it said so last. Where the row was lost the next fetch brings them back. The other tables are no read models but
what is to be done: orders on their way to the CRM, the next fetches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.declared import Making, Rebuildable
from chatledger.adapters.rebuilding.live_standing import JournalStanding
from chatledger.adapters.rebuilding.shadow_tables import Table
from chatledger.events.envelope import Envelope, project_of
from chatledger.events.inventory import InventoryUpdated
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.topics import INVENTORY
from chatledger_crm.inventory import Change, ProductCopy
from chatledger_crm.refreshing import save
from chatledger_crm.settings import SERVICE

SCHEMA = "crm"


async def apply(connection: Connection, events: Sequence[LedgerEvent]) -> None:
    """Note the newest that events tell of each product."""
    newest: dict[tuple[str, str], Envelope] = {}
    for envelope in (event.envelope for event in events):
        if isinstance(envelope.data, InventoryUpdated):
            newest[project_of(envelope.conversation), envelope.data.sku] = envelope
    for (project, sku), envelope in newest.items():
        event = envelope.data
        assert isinstance(event, InventoryUpdated), "only these were chosen"
        copy = ProductCopy(reference=None, price_minor=event.price_minor, stock=event.stock)
        await save(connection, project, [Change(sku=sku, copy=copy, event=envelope)], event.fetched_at)


def _begin(projects: Mapping[str, Project]) -> Making:
    return Making(standings=(JournalStanding(SCHEMA, INVENTORY, [InventoryUpdated.type]),), apply=apply)


REBUILDABLES = (
    Rebuildable(
        name="crm.inventory",
        sentence="The last copy of the CRM's stock and prices.",
        service=SERVICE,
        schema=SCHEMA,
        tables=(Table(name="inventory", kept=("reference", "fetched_at")),),
        types=(InventoryUpdated.type,),
        begin=_begin,
    ),
)
