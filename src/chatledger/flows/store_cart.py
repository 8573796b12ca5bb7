"""What becomes of a product list: items for the cart, questions where several products fit, refusals of the rest.

Nothing is taken in part: a line goes into the cart whole, or is refused with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatledger.events import cart
from chatledger.events.base import Event
from chatledger.events.orders import OrderLine
from chatledger.flows.store_catalogue import find, fits_unit, index_of, product_of
from chatledger.flows.store_list import ListLine, Vocabulary, vocabulary_words
from chatledger.flows.store_tokens import MEASURE_UNITS
from chatledger.projects import Product, Project, Store
from chatledger.shop import Shop

CHOICES_OPEN_MAX = 10
"""Questions that wait for an answer; a list that raises more of them is refused from there on."""


@dataclass(slots=True, kw_only=True)
class Taking:
    """A list on its way into the cart, line by line. `items` maps a sku to what of it is added."""

    store: Store
    shop: Shop
    items: dict[str, OrderLine] = field(default_factory=dict)
    refused: list[cart.RefusedLine] = field(default_factory=list)
    choices: list[cart.ChoiceAsked] = field(default_factory=list)

    def take(self, lines: Sequence[ListLine]) -> None:
        """Take each line as what the catalogue finds it to mean."""
        for line in lines:
            found = find(line, self.store)
            if line.beyond:
                self.refuse(line.text, "cart_full")
            elif found.reading is None:
                self.refuse(line.text, "unknown")
            elif len(found.products) > 1:
                self._ask(line.text, found.reading.quantity, found.products)
            elif not fits_unit(found.reading, found.products[0]):
                self.refuse(line.text, "quantity", found.products[0])
            else:
                self.put(line.text, found.reading.quantity, found.products[0])

    def put(self, text: str, quantity: int | None, product: Product) -> None:
        """Add `quantity` of a product, or refuse it."""
        known = self.items.get(product.sku)
        there = sum(line.quantity for line in (*self.shop.cart, *self.items.values()) if line.sku == product.sku)
        if quantity is None or not 1 <= quantity <= self.store.quantity_max - there:
            self.refuse(text, "quantity", product)
        elif product.stock == 0:
            self.refuse(text, "out_of_stock", product)
        elif product.stock is not None and quantity + there > product.stock:
            self.refuse(text, "not_enough", product)
        elif not there and self._items_count() >= self.store.cart_lines_max:
            self.refuse(text, "cart_full", product)
        else:
            line = known or order_line(product, 0, self.store)
            self.items[product.sku] = replace(line, quantity=line.quantity + quantity)

    def refuse(self, text: str, reason: cart.RefusalReason, product: Product | None = None) -> None:
        """Note that `text` was not taken, and why."""
        self.refused.append(
            cart.RefusedLine(
                text=text,
                reason=reason,
                sku=product.sku if product else None,
                in_stock=product.stock if product else None,
            )
        )

    def events(self) -> list[Event]:
        """Return what happened, in the order in which it is folded."""
        added = [cart.ItemsAdded(items=tuple(self.items.values()))] if self.items else []
        refused = [cart.ItemsRefused(lines=tuple(self.refused))] if self.refused else []
        return [*added, *refused, *self.choices]

    @property
    def nothing_understood(self) -> bool:
        """Whether no line was about anything that the catalogue has."""
        return not self.items and not self.choices and all(line.reason == "unknown" for line in self.refused)

    def _ask(self, text: str, quantity: int | None, products: Sequence[Product]) -> None:
        if quantity is None or not 1 <= quantity <= self.store.quantity_max:
            self.refuse(text, "quantity")
        elif len(self.shop.choices) + len(self.choices) >= CHOICES_OPEN_MAX:
            self.refuse(text, "cart_full")
        else:
            skus = tuple(product.sku for product in products)
            self.choices.append(cart.ChoiceAsked(text=text, quantity=quantity, skus=skus))

    def _items_count(self) -> int:
        return len({line.sku for line in self.shop.cart} | self.items.keys())


def order_line(product: Product, quantity: int, store: Store) -> OrderLine:
    """Return a product as a line of a cart, at today's price and tax."""
    return OrderLine(
        name=product.name,
        quantity=quantity,
        unit_price_minor=product.price_minor,
        sku=product.sku,
        unit=product.unit,
        tax_bp=store.tax_bp if product.tax_bp is None else product.tax_bp,
    )


def no_longer_sold(shop: Shop, store: Store) -> list[cart.RefusedLine]:
    """Return the lines of a cart that cannot be ordered any more: the stock may have changed since."""
    taking = Taking(store=store, shop=replace(shop, cart=()))
    for line in shop.cart:
        product = product_of(store, line.sku)
        if product is None:
            taking.refused.append(cart.RefusedLine(text=line.name, reason="unknown", sku=line.sku))
        else:
            taking.put(line.name, line.quantity, product)
    return taking.refused


def vocabulary_of(project: Project, store: Store) -> Vocabulary:
    """Return what the words of a list can mean in this project, in any of its languages."""
    index = index_of(store.catalogue)
    pieces, fillers = (
        frozenset().union(*(vocabulary_words(project.words[language][word]) for language in project.languages))
        for word in ("pieces", "fillers")
    )
    return Vocabulary(units=index.units - MEASURE_UNITS, pieces=pieces, fillers=fillers, skus=index.skus.keys())
