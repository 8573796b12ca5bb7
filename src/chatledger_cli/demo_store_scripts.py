"""What the store's customers in the demo write, and a part of what each reply has to say.

The scripts are about products of the example's catalogue; sums, and what is said in the project's own texts, come from
the project itself.
"""

from __future__ import annotations

from collections.abc import Callable

from chatledger.events.money import Money, format_money
from chatledger.events.orders import Discount, OrderLine
from chatledger.pricing import amounts
from chatledger.projects import Project, Store
from chatledger_cli.demo_scene import Step

LANGUAGE = "en"
_PRODUCTS = {
    "CEM-50": "Cement",
    "ROD-10": "Steel rod 10mm",
    "ROD-12": "Steel rod 12mm",
    "ROD-16": "Steel rod 16mm",
    "BRICK-R": "Red brick",
    "SAND-R": "River sand",
    "PAINT-W4": "White paint 4 l",
}
_COMMANDS = {"1": "yes", "2": "no", "status": "status", "stop": "stop", "cancel": "cancel", "invoice": "invoice"}

Script = Callable[["Till"], tuple[Step, ...]]


class Till:
    """Says what things come to in one store, and how the store says what it says."""

    def __init__(self, project: Project, store: Store) -> None:
        self._project, self._store = project, store

    def said(self, key: str) -> str:
        """A text of the project, as far as it is the same for everybody."""
        return self._project.texts[LANGUAGE][key].partition("{")[0].strip()

    def total(self, **quantities: int) -> str:
        """What these quantities come to, by sku with `_` for `-`, as the summary and the invoice write it."""
        products = {product.sku.replace("-", "_"): product for product in self._store.catalogue}
        lines = [
            OrderLine(
                name=products[sku].name,
                quantity=quantity,
                unit_price_minor=products[sku].price_minor,
                tax_bp=self._store.tax_bp if products[sku].tax_bp is None else products[sku].tax_bp,
            )
            for sku, quantity in quantities.items()
        ]
        discounts = [
            Discount(name=rule.name, percent_bp=rule.percent_bp, amount_minor=rule.amount_minor)
            for rule in self._store.discounts
            if rule.code is None
        ]
        sums = amounts(lines, discounts, tax_inclusive=self._store.tax_inclusive)
        return format_money(
            Money(minor=sums.total_minor, currency=self._store.currency), LANGUAGE, self._project.region
        )

    def confirm(self, **quantities: int) -> Step:
        """The yes to a cart with these quantities: the order's confirmation comes, and then its invoice."""
        return Step(text="1", replies=(self.said("order_confirmed"), self.total(**quantities)))


def is_playable(project: Project) -> bool:
    """Whether this project sells what the scripts are about, and understands how they say it."""
    if project.store is None or project.languages[0] != LANGUAGE:
        return False
    names = {product.sku: product.name for product in project.store.catalogue}
    return _PRODUCTS.items() <= names.items() and all(project.means(text, word) for text, word in _COMMANDS.items())


def _plain(till: Till) -> tuple[Step, ...]:
    return (
        Step(text="Hi", replies=(till.said("welcome"),)),
        Step(text="Cement x 100", replies=(till.total(CEM_50=100),)),
        till.confirm(CEM_50=100),
    )


def _list(till: Till) -> tuple[Step, ...]:
    """A list on several lines with a misspelt name and one that nobody sells; then more of the first."""
    return (
        Step(text="hello", replies=(till.said("welcome"),)),
        Step(text="cement 100 bags\nsteal rod 12mm - 20\nunicorn x 3", replies=(till.total(CEM_50=100, ROD_12=20),)),
        Step(text="20 cement", replies=(till.total(CEM_50=120, ROD_12=20),)),
        till.confirm(CEM_50=120, ROD_12=20),
    )


def _choice(till: Till) -> tuple[Step, ...]:
    """A name that three products have, and the answer by number."""
    return (
        Step(text="Steel rod x 5", replies=("Steel rod 16mm",)),
        Step(text="2", replies=(till.total(ROD_12=5),)),
        till.confirm(ROD_12=5),
        Step(text="status", replies=(till.said("status_confirmed"),)),
    )


def _gives_up(till: Till) -> tuple[Step, ...]:
    return (
        Step(text="Hey", replies=(till.said("welcome"),)),
        Step(text="red brick 500, white paint 4 l x 2", replies=(till.total(BRICK_R=500),)),
        Step(text="2", replies=(till.said("cart_kept"),)),
        Step(text="cancel", replies=(till.said("cart_cancelled"),)),
    )


def _asks(till: Till) -> tuple[Step, ...]:
    return (
        Step(text="Good morning", replies=(till.said("welcome"),)),
        Step(text="status", replies=(till.said("status_none"),)),
        Step(text="200 kg river sand", replies=(till.total(SAND_R=200),)),
        till.confirm(SAND_R=200),
        Step(text="invoice", replies=(till.total(SAND_R=200),)),
        Step(text="stop", replies=(till.said("opted_out"),)),
    )


SCRIPTS: tuple[tuple[Script, int], ...] = ((_plain, 1), (_list, 1), (_choice, 1), (_gives_up, 0), (_asks, 1))
"""Each script, and how many orders come of it. Customers take them in turn."""
