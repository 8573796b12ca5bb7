"""Live stock and prices, from a project's CRM, laid over the catalogue of its file. Pure.

A batch of messages may be handled a second time, by a worker that took over, and must then be decided alike: the first
decisions may be on their topic already. So what counts is what was known at the message's own time, not now: an update
is in force some seconds after it was fetched, when every worker has long read it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chatledger.events.inventory import InventoryUpdated
from chatledger.events.money import MINOR_MAX
from chatledger.pricing import FULL_BP
from chatledger.projects import Product, Project, Store

IN_FORCE_AFTER = timedelta(seconds=20)
"""From an update's fetching: longer than it takes to come to every worker, shorter than a client takes to answer who
reads that a product is back."""
REMEMBERED = timedelta(hours=1)
"""Older updates that were followed by others are forgotten; messages that are older still meet the oldest one kept."""
VIEWS_MAX = 16
"""Workers read messages about in the order of their times, so a few stretches of time are looked at at once."""

History = list[InventoryUpdated]


def with_inventory(project: Project, updates: Mapping[str, InventoryUpdated]) -> Project:
    """Return the project with the prices and stocks that `updates` tell, by sku; what they do not tell is the file's.

    A price that no order could be reckoned with, being negative or beyond what a column holds, counts as not told.
    """
    store = project.store
    if store is None or not updates:
        return project
    catalogue = tuple(_updated(store, product, updates.get(product.sku)) for product in store.catalogue)
    return replace(project, store=replace(store, catalogue=catalogue))


class LiveProjects:
    """Projects as they were at each moment. Updates are taken in any order, and more than once.

    Updates that others followed are forgotten after `remembered`; None keeps all, for who goes through all of history.
    """

    def __init__(self, projects: Mapping[str, Project], *, remembered: timedelta | None = REMEMBERED) -> None:
        self._projects = projects
        self._remembered = remembered
        self._histories: dict[str, dict[str, History]] = {
            name: {} for name, project in projects.items() if project.crm is not None and project.store is not None
        }
        self._newest: datetime | None = None
        self._starts: list[datetime] | None = None
        self._views: dict[int, Mapping[str, Project]] = {}

    @property
    def products(self) -> int:
        """How many products something is known of."""
        return sum(len(histories) for histories in self._histories.values())

    def take(self, project: str, update: InventoryUpdated) -> None:
        """Note an update; of a project that has no CRM it means nothing."""
        histories = self._histories.get(project)
        if histories is None:
            return
        history = histories.setdefault(update.sku, [])
        if update in history:
            return
        insort(history, update, key=lambda each: each.fetched_at)
        self._newest = max(self._newest or update.fetched_at, update.fetched_at)
        if self._remembered is not None:
            del history[: _last_before(history, self._newest - self._remembered)]
        self._starts = None
        self._views.clear()

    def at(self, time: datetime) -> Mapping[str, Project]:
        """All projects, by name, as they were at `time`."""
        if self._newest is None:
            return self._projects
        if self._starts is None:
            self._starts = sorted({each.fetched_at + IN_FORCE_AFTER for each in self._updates()})
        stretch = bisect_right(self._starts, time)
        view = self._views.get(stretch)
        if view is None:
            if len(self._views) >= VIEWS_MAX:
                self._views.clear()
            view = self._views[stretch] = self._view(time)
        return view

    def _view(self, time: datetime) -> Mapping[str, Project]:
        live = {}
        for name, histories in self._histories.items():
            in_force = {sku: history[index] for sku, history in histories.items() if (index := _at(history, time)) >= 0}
            live[name] = with_inventory(self._projects[name], in_force)
        return {**self._projects, **live}

    def _updates(self) -> list[InventoryUpdated]:
        return [each for histories in self._histories.values() for history in histories.values() for each in history]


def _at(history: Sequence[InventoryUpdated], time: datetime) -> int:
    """The place of the update that is in force at `time`; -1 where none is yet."""
    return bisect_right(history, time - IN_FORCE_AFTER, key=lambda each: each.fetched_at) - 1


def _last_before(history: Sequence[InventoryUpdated], time: datetime) -> int:
    """The place of the last update that was in force at `time`: all before it were followed by it long ago."""
    return max(0, _at(history, time))


def _updated(store: Store, product: Product, update: InventoryUpdated | None) -> Product:
    if update is None:
        return product
    price, stock = update.price_minor, update.stock
    return replace(
        product,
        price_minor=product.price_minor if price is None or not _is_usable(store, product, price) else price,
        stock=product.stock if stock is None else max(0, stock),
    )


def _is_usable(store: Store, product: Product, price_minor: int) -> bool:
    """Whether the fullest cart of it, with its tax, fits into a database column, as for the prices of the file."""
    rate = store.tax_bp if product.tax_bp is None else product.tax_bp
    fullest = price_minor * store.quantity_max * store.cart_lines_max
    return price_minor >= 0 and fullest * (FULL_BP + rate) < MINOR_MAX * FULL_BP
