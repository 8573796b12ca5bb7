"""One message on its way through the flow `store`: what the client may mean by it, and how the shop answers.

Replies are bounded: the shortest channel cuts a text at 1,600 characters, and a summary's end is what matters most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chatledger.events import dialog
from chatledger.events.base import Event
from chatledger.events.cart import RefusedLine
from chatledger.events.money import Money, format_money
from chatledger.events.orders import Discount, OrderLine
from chatledger.flows.store_catalogue import product_of
from chatledger.flows.turn import Turn
from chatledger.pricing import FULL_BP, Amounts, amounts
from chatledger.projects import Product, Project, Store
from chatledger.shop import Choice, Shop, fold

LINES_SHOWN_MAX = 10
"""Lines of a cart, an invoice or the catalogue in one reply; how many more there are is said."""
REFUSED_SHOWN_MAX = 4
NAME_SHOWN_MAX = 40
TEXT_SHOWN_MAX = 60
"""Characters of a product's name, and of what a client wrote, in a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTurn(Turn):
    """One message on its way through the store. `shop` is as it was before the message."""

    shop: Shop

    @property
    def store(self) -> Store:
        """What is sold; a project file of this flow has it."""
        assert self.project.store is not None
        return self.project.store

    @property
    def example(self) -> str:
        """A list as a client could send it, of products that there are."""
        sold = [product.name for product in self.store.catalogue if product.stock != 0] or [""]
        return "\n".join(
            f"{shortened(name, NAME_SHOWN_MAX)} {sign} {count}"
            for name, sign, count in zip(sold, ("x", "-"), (10, 5), strict=False)
        )

    def shop_after(self, events: Iterable[Event]) -> Shop:
        """Return the shop as it will be once `events` are folded."""
        shop = self.shop
        for event in events:
            shop = fold(shop, event, self.cause)
        return shop

    def with_text(self, key: str, **variables: object) -> str:
        """Return the text `key` in the client's language."""
        return self.project.text(self.language, key, **variables)

    def ask_about(self, shop: Shop, *before: str) -> dialog.ReplyRequested:
        """Ask what is open in `shop`: the oldest choice, else whether to order the cart, else for a list."""
        return self.say(*before, *self.question(shop))

    def question(self, shop: Shop) -> tuple[str, ...]:
        """Return what is to be asked, as one paragraph; none where the shop waits for nothing."""
        if shop.choices:
            return (self._choice_text(shop.choices[0]),)
        return (cart_text(shop, self.project, self.language),) if shop.cart else ()

    def refusals(self, lines: Sequence[RefusedLine]) -> str:
        """Say of each line why it was not taken."""
        said = [self._refusal(line) for line in lines[:REFUSED_SHOWN_MAX]]
        return "\n".join([*said, *_more(len(lines) - REFUSED_SHOWN_MAX, self.project, self.language)])

    def products_text(self) -> str:
        """Return the beginning of the catalogue."""
        catalogue = self.store.catalogue
        lines = [self.with_text("product_line", **self._of(product)) for product in catalogue[:LINES_SHOWN_MAX]]
        lines += _more(len(catalogue) - LINES_SHOWN_MAX, self.project, self.language)
        return self.with_text("products", lines="\n".join(lines))

    def _choice_text(self, choice: Choice) -> str:
        products = (product_of(self.store, sku) for sku in choice.skus)
        lines = [
            self.with_text("choice_line", number=number, **self._of(product))
            for number, product in enumerate(products, start=1)
            if product is not None
        ]
        return self.with_text("ask_choice", text=shortened(choice.text, TEXT_SHOWN_MAX), lines="\n".join(lines))

    def _of(self, product: Product) -> dict[str, str]:
        price = format_money(
            Money(minor=product.price_minor, currency=self.store.currency), self.language, self.project.region
        )
        return {"name": shortened(product.name, NAME_SHOWN_MAX), "unit": product.unit, "price": price}

    def _refusal(self, line: RefusedLine) -> str:
        product = product_of(self.store, line.sku)
        known = product is not None and line.reason == "quantity"
        most = self.store.cart_lines_max if line.reason == "cart_full" else self.store.quantity_max
        name = product.name if product else line.text
        variables = {
            "text": shortened(line.text, TEXT_SHOWN_MAX),
            "name": shortened(name, NAME_SHOWN_MAX),
            "unit": product.unit if product else "",
            "in_stock": line.in_stock or 0,
            "max": most,
        }
        return self.with_text(f"refused_{line.reason}_of" if known else f"refused_{line.reason}", **variables)


def cart_text(shop: Shop, project: Project, language: str) -> str:
    """Return the summary: a line per item, what is taken off or put on, the total, and the question."""
    assert project.store is not None
    discounts = discounts_of(shop, project.store)
    sums = amounts(shop.cart, discounts, tax_inclusive=project.store.tax_inclusive)
    currency = project.store.currency
    lines = item_lines("cart_line", shop.cart, currency, project, language)
    lines += sum_lines(sums, discounts, currency, project, language, tax_inclusive=project.store.tax_inclusive)
    total = format_money(Money(minor=sums.total_minor, currency=currency), language, project.region)
    return project.text(language, "summary", lines="\n".join(lines), total=total)


def discounts_of(shop: Shop, store: Store) -> tuple[Discount, ...]:
    """Return what is taken off this cart: the rules for everybody, and the one whose code was given."""
    return tuple(
        Discount(name=rule.name, percent_bp=rule.percent_bp, amount_minor=rule.amount_minor)
        for rule in store.discounts
        if rule.code is None or rule.code == shop.discount_code
    )


def item_lines(key: str, lines: Sequence[OrderLine], currency: str, project: Project, language: str) -> list[str]:
    """Write each line of a cart or an invoice with the text `key`; of many, the first ones and how many more."""

    def money(minor: int) -> str:
        return format_money(Money(minor=minor, currency=currency), language, project.region)

    written = []
    for line in lines[:LINES_SHOWN_MAX]:
        name, price = shortened(line.name, NAME_SHOWN_MAX), line.unit_price_minor or 0
        item = f"{name} ({line.unit})" if line.unit else name
        variables = {"item": item, "quantity": line.quantity, "price": money(price)}
        written.append(project.text(language, key, **variables, amount=money(price * line.quantity)))
    return [*written, *_more(len(lines) - LINES_SHOWN_MAX, project, language)]


def sum_lines(
    sums: Amounts,
    discounts: Sequence[Discount],
    currency: str,
    project: Project,
    language: str,
    *,
    tax_inclusive: bool,
) -> list[str]:
    """Write subtotal, discount and tax, each where the total differs from the one before for it."""

    def money(minor: int) -> str:
        return format_money(Money(minor=minor, currency=currency), language, project.region)

    added = () if tax_inclusive else tuple(tax for tax in sums.taxes if tax.tax_minor)
    lines = []
    if sums.discount_minor or added:
        lines.append(project.text(language, "subtotal_line", amount=money(sums.subtotal_minor)))
    if sums.discount_minor:
        names = ", ".join(shortened(discount.name, NAME_SHOWN_MAX) for discount in discounts)
        lines.append(project.text(language, "discount_line", names=names, amount=money(sums.discount_minor)))
    for tax in added:
        lines.append(project.text(language, "tax_line", rate=rate_text(tax.rate_bp), amount=money(tax.tax_minor)))
    return lines


def rate_text(rate_bp: int) -> str:
    """Write basis points as percent: 1800 is `18%`, 25 is `0.25%`."""
    return f"{(Decimal(rate_bp) * 100 / FULL_BP).normalize():f}%"


def shortened(text: str, length_max: int) -> str:
    """Return `text` in at most `length_max` characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length_max else f"{line[: length_max - 1].rstrip()}…"


def _more(count: int, project: Project, language: str) -> list[str]:
    return [project.text(language, "more_line", count=count)] if count > 0 else []
