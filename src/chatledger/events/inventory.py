"""What a project's other system (Zoho CRM) says of its products, and what it was told, on the topic chat.inventory.

Its keys are `project/inventory/<sku>` and `project/crm/<order id>`: no client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import AwareDatetime

from chatledger.events.base import Event, Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryUpdated(Event):
    """A product's price or stock is another one since `fetched_at`. None: not known, the project file's counts."""

    type: ClassVar[str] = "inventory.updated"

    sku: str
    price_minor: Integer | None
    stock: Integer | None
    fetched_at: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSynced(Event):
    """The other system has the order, under `reference`, as it stood at this `status`."""

    type: ClassVar[str] = "order.synced"

    order_id: str
    reference: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNotSynced(Event):
    """The other system refused the order for good."""

    type: ClassVar[str] = "order.not_synced"

    order_id: str
    reason: str


EVENTS: tuple[type[Event], ...] = (InventoryUpdated, OrderSynced, OrderNotSynced)
