"""What clients wanted and could not have, and how much there is of it: noted from what other services tell."""

from __future__ import annotations

from chatledger.adapters.postgres import Connection
from chatledger.events.envelope import Envelope
from chatledger.events.inventory import InventoryUpdated
from chatledger.projects import Project
from chatledger_outreach import reasons
from chatledger_outreach.sql import query


async def note(connection: Connection, envelope: Envelope, project: Project) -> list[str]:
    """Note what an event tells, within the caller's transaction; return the products that it is about."""
    event = envelope.data
    if isinstance(event, InventoryUpdated) and event.stock is not None:
        stock = (project.name, event.sku, event.stock, envelope.time)
        await connection.execute(query("save_stock"), stock)
        return [event.sku]
    wishes = reasons.wishes(event)
    for wish in wishes:
        wanted = (envelope.conversation, project.name, wish.sku, wish.in_stock, envelope.time)
        await connection.execute(query("add_wish"), wanted)
    return [wish.sku for wish in wishes]


async def granted(connection: Connection, project: Project, sku: str) -> list[str]:
    """Return whose wish for a product can be granted now, and note that they are told."""
    rows = await connection.execute(query("grant_wishes"), (project.name, sku))
    return sorted(row[0] for row in await rows.fetchall())
