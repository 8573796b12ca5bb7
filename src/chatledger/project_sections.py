"""The sections of a project file that say what is sold and when clients are reminded: `offer`, `store`, `outreach`.

In a file, prices are decimal texts ("50.00") and rates are percent (18, "0.25"); a project has minor units and basis
points. Here one becomes the other, and what no field alone can say is checked. `project_files` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from chatledger.errors import ConfigurationError
from chatledger.events.money import MINOR_MAX, Money, money_from_text
from chatledger.flows import Flow
from chatledger.pricing import FULL_BP
from chatledger.projects import Project, Store

PRICE_MINOR_MAX = 10**12
"""The largest price times the largest quantity still fits into the 64 bits of a database column."""

SOLD_SECTIONS = ("offer", "store")
"""A flow sells from one of them, and has no use for the other."""

Read = Callable[[Any, str, str], int]


def read_sections(document: Mapping[str, Any], flow: Flow, where: str) -> dict[str, Any]:
    """Return the sections as `Project` takes them. Raises ConfigurationError."""
    for section in flow.sections:
        if document.get(section) is None:
            raise ConfigurationError(f"{where}: {section}: is missing; the flow {flow.name} needs it")
    for section in SOLD_SECTIONS:
        if section not in flow.sections and document.get(section) is not None:
            raise ConfigurationError(f"{where}: {section}: the flow {flow.name} has no use for it; take it out")
    if document.get("crm") is not None and document.get("store") is None:
        raise ConfigurationError(f"{where}: crm: needs the section store, whose stock and prices it keeps")
    read: dict[str, Any] = {}
    offer, store = document.get("offer"), document.get("store")
    if isinstance(offer, dict) and offer.get("price") is not None:
        read["offer"] = {**offer, "price": _offer_price(offer["price"], where)}
    if isinstance(store, dict):
        read["store"] = _store(store, where)
    return read


def check_sections(project: Project, where: str) -> None:
    """Check what the fields of a section say together. Raises ConfigurationError."""
    if project.store is not None:
        _check_skus(project.store, where)
        _check_discounts(project.store, where)
        _check_sums(project.store, where)
    if project.outreach is not None:
        _check_time_zone(project.outreach.time_zone, where)


def _offer_price(price: Any, where: str) -> Money:
    """Read `{amount, currency}`."""
    mend = 'write {amount: "250.00", currency: INR}'
    if not isinstance(price, dict) or price.keys() != {"amount", "currency"}:
        raise ConfigurationError(f"{where}: offer.price: {mend}")
    minor = _amount(price["amount"], str(price["currency"]), f"{where}: offer.price", mend)
    return Money(minor=minor, currency=str(price["currency"]))


def _store(store: dict[str, Any], where: str) -> dict[str, Any]:
    currency = store.get("currency")
    if not isinstance(currency, str):
        raise ConfigurationError(f"{where}: store.currency: write an ISO 4217 code such as INR or EUR")
    _amount("0", currency, f"{where}: store.currency", "write an ISO 4217 code such as INR or EUR")

    def price(value: Any, field: str, mend: str) -> int:
        return _amount(value, currency, field, mend)

    of_store = {"tax_percent": ("tax_bp", _percent, "write 18")}
    of_product = {**of_store, "price": ("price_minor", price, 'write "50.00"')}
    of_discount = {"percent": ("percent_bp", _percent, "write 5"), "amount": ("amount_minor", price, 'write "100.00"')}
    read: dict[str, Any] = _renamed(store, of_store, f"{where}: store")
    for part, fields in (("catalogue", of_product), ("discounts", of_discount)):
        entries = store.get(part)
        if isinstance(entries, list):
            read[part] = [
                _renamed(entry, fields, f"{where}: store.{part}.{place}") for place, entry in enumerate(entries)
            ]
    for place, product in enumerate(read.get("catalogue") or ()):
        if isinstance(product, dict) and "price_minor" not in product:
            raise ConfigurationError(f'{where}: store.catalogue.{place}.price: is missing; write "50.00"')
    return read


def _renamed(entry: Any, fields: Mapping[str, tuple[str, Read, str]], field: str) -> Any:
    """Return `entry` with each of `fields` read under the name that the project's class has for it.

    The class's own names are not a file's: they would be in other units.
    """
    if not isinstance(entry, dict):
        return entry
    read = dict(entry)
    for written, (name, read_value, mend) in fields.items():
        if name in entry:
            raise ConfigurationError(f"{field}.{name}: is no field of a project file; {mend} as {written}")
        if (value := read.pop(written, None)) is not None:
            read[name] = read_value(value, f"{field}.{written}", mend)
    return read


def _amount(amount: Any, currency: str, field: str, mend: str) -> int:
    """Read a decimal text of one currency into minor units."""
    try:
        money = money_from_text(str(amount), currency)
    except ValueError as wrong:
        raise ConfigurationError(f"{field}: {wrong}; {mend}") from wrong
    if not 0 <= money.minor <= PRICE_MINOR_MAX:
        raise ConfigurationError(f"{field}: {amount} is negative or beyond reason; {mend}")
    return money.minor


def _percent(value: Any, field: str, mend: str) -> int:
    """Read percent, with at most two decimals, into basis points."""
    try:
        points = Decimal(str(value)) * 100
        whole = points.is_finite() and points == points.to_integral_value()
    except InvalidOperation:
        whole = False
    if not whole or not 0 <= points <= 10 * FULL_BP:
        raise ConfigurationError(f"{field}: {value!r} is no percentage from 0 to 1000 with up to two decimals; {mend}")
    return int(points)


def _check_skus(store: Store, where: str) -> None:
    for place, sku in _repeated(product.sku.casefold() for product in store.catalogue):
        raise ConfigurationError(f"{where}: store.catalogue.{place}.sku: {sku!r} is another product's too")


def _check_discounts(store: Store, where: str) -> None:
    for place, rule in enumerate(store.discounts):
        if (rule.percent_bp is None) == (rule.amount_minor is None):
            raise ConfigurationError(f"{where}: store.discounts.{place}: write either percent or amount")
        if rule.code is not None and (not rule.code or len(rule.code.split()) != 1):
            raise ConfigurationError(f"{where}: store.discounts.{place}.code: {rule.code!r} is not one word")
    for place, code in _repeated(rule.code.casefold() if rule.code else None for rule in store.discounts):
        if code is not None:
            raise ConfigurationError(f"{where}: store.discounts.{place}.code: {code!r} is another discount's too")


def _check_sums(store: Store, where: str) -> None:
    """The fullest cart of the dearest product, with its tax, must fit into a database column."""
    for place, product in enumerate(store.catalogue):
        rate = store.tax_bp if product.tax_bp is None else product.tax_bp
        fullest = product.price_minor * store.quantity_max * store.cart_lines_max
        if fullest * (FULL_BP + rate) >= MINOR_MAX * FULL_BP:
            raise ConfigurationError(
                f"{where}: store.catalogue.{place}.price: too much for quantity_max {store.quantity_max} and"
                f" cart_lines_max {store.cart_lines_max}; lower one of them"
            )


def _check_time_zone(name: str, where: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as wrong:  # an unknown name, a folder's name, a path
        raise ConfigurationError(
            f"{where}: outreach.time_zone: {name!r} is no time zone; write one such as Asia/Kolkata or UTC"
        ) from wrong


def _repeated(values: Iterable[str | None]) -> Iterable[tuple[int, str | None]]:
    """Yield each value that came before, with its place."""
    seen = set()
    for place, value in enumerate(values):
        if value in seen:
            yield place, value
        seen.add(value)
