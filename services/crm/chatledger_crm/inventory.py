"""What a fetched list of products changes: an event for each product whose price or stock is another one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id
from chatledger.events.inventory import InventoryUpdated
from chatledger.projects import Store
from chatledger_crm.outbox import SOURCE
from chatledger_crm.zoho_records import ZohoProduct


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCopy:
    """What was fetched of one product last. `reference` is the CRM's id, None where it has the product no more."""

    reference: str | None
    price_minor: int | None
    stock: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCopy:
    """The same as it is kept: after `version` events about it."""

    copy: ProductCopy
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One product that is another than before, and the event that says so."""

    sku: str
    copy: ProductCopy
    event: Envelope


def changes(
    project: str, store: Store, products: Iterable[ZohoProduct], known: Mapping[str, KnownCopy], at: datetime
) -> list[Change]:
    """Compare what was fetched at a time with what is known of the catalogue's products; other products do not count.

    Of two products with one code the first counts. A product that the CRM has no more is not known any more: the
    project file's price and stock count for it again.
    """
    fetched: dict[str, ZohoProduct] = {}
    for product in products:
        fetched.setdefault(product.code.casefold(), product)
    found = []
    for sku in (each.sku for each in store.catalogue):
        seen, before = fetched.get(sku.casefold()), known.get(sku)
        if seen is None and before is None:
            continue
        copy = (
            ProductCopy(reference=seen.reference, price_minor=seen.price_minor, stock=seen.stock)
            if seen
            else ProductCopy(reference=None, price_minor=None, stock=None)
        )
        if before is None or before.copy != copy:
            event = _event(project, sku, copy, version=before.version + 1 if before else 1, at=at)
            found.append(Change(sku=sku, copy=copy, event=event))
    return found


def _event(project: str, sku: str, copy: ProductCopy, *, version: int, at: datetime) -> Envelope:
    """Nothing here caused it, so it begins a line of its own."""
    stream = f"inventory-{project}-{sku}"
    event_id = derive_id(stream, version)
    return Envelope(
        id=event_id,
        source=SOURCE,
        conversation=f"{project}/inventory/{sku}",
        time=at,
        stream=stream,
        stream_version=version,
        correlation_id=event_id,
        causation_id=None,
        traceparent=None,
        data=InventoryUpdated(sku=sku, price_minor=copy.price_minor, stock=copy.stock, fetched_at=at),
    )
