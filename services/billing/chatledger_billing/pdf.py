"""An invoice as PDF: the words and amounts that stand on the page, and the page itself, set by Typst.

What is shown goes to the template as JSON, and is text there: nothing that a client or a shop wrote is read as markup.
The fonts are those of the typst package, so the page is the same on every machine; they have Latin, Cyrillic and
Greek letters and the signs of currencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_decimal

from chatledger.errors import ConfigurationError
from chatledger.events.money import Money, format_money
from chatledger.projects import Project
from chatledger_billing.detailed_views import OPEN
from chatledger_billing.views import Row

TEMPLATE = "invoice.typ"
MISSING = "invoices as PDF need the extra pdf: pip install 'chatledger[pdf]'"
PER_CENT_BP = 100
ZERO_WIDTH_SPACE = "\u200b"
_LONG_WORD, _PIECE = re.compile(r"[^\s-]{20,}"), re.compile(r".{1,8}")
"""A hyphen is a place to break already: numbers of orders and UUIDs stay as they are."""

LABELS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "invoice": "Invoice",
        "order": "Order",
        "issued": "Issued",
        "due": "Due",
        "bill_to": "Bill to",
        "item": "Item",
        "quantity": "Quantity",
        "price": "Price",
        "amount": "Amount",
        "subtotal": "Subtotal",
        "discount": "Discount",
        "tax": "Tax {rate}",
        "tax_included": "Tax {rate} included",
        "on": "on {base}",
        "total": "Total",
        "paid": "Paid",
        "refunded": "Refunded",
        "balance": "To pay",
        "credit_note": "Taken back by credit note {number}",
        "issued_badge": "",
        "partly_paid_badge": "Partly paid",
        "paid_badge": "Paid",
        "void_badge": "Void",
        "overdue_badge": "Overdue",
    },
    "ru": {
        "invoice": "Счёт",
        "order": "Заказ",
        "issued": "Выставлен",
        "due": "Оплатить до",
        "bill_to": "Покупатель",
        "item": "Наименование",
        "quantity": "Количество",
        "price": "Цена",
        "amount": "Сумма",
        "subtotal": "Сумма без скидок",
        "discount": "Скидка",
        "tax": "НДС {rate}",
        "tax_included": "В том числе НДС {rate}",
        "on": "с {base}",
        "total": "Итого",
        "paid": "Оплачено",
        "refunded": "Возвращено",
        "balance": "К оплате",
        "credit_note": "Отменён кредит-нотой {number}",
        "issued_badge": "",
        "partly_paid_badge": "Оплачен частично",
        "paid_badge": "Оплачен",
        "void_badge": "Отменён",
        "overdue_badge": "Просрочен",
    },
}
"""What is printed beside the invoice's own words, by language; the first is for all others."""


def invoice_text(row: Row, project: Project | None, *, today: date) -> dict[str, Any]:
    """Return what stands on the page, written as people of the project's first language and region do.

    Without a project (it was taken away) that is English.
    """
    language, region = (project.languages[0], project.region) if project else ("en", "")
    labels, locale = LABELS.get(language, LABELS["en"]), _locale(language, region)

    def money(minor: int) -> str:
        return format_money(Money(minor=minor, currency=row["currency"]), language, region)

    status = row["status"]
    is_open = status in OPEN
    badge = "overdue" if is_open and row["due_on"] < today else status
    return {
        "language": language if language in LABELS else "en",
        "labels": labels,
        "seller": row["project"],
        "client": breakable(row["client_id"]),
        "number": row["number"],
        "order": breakable(row["number_of_order"] or ""),
        "issued_on": format_date(row["issued_on"], "long", locale),
        "due_on": format_date(row["due_on"], "long", locale),
        "badge": {"kind": badge, "text": labels[f"{badge}_badge"]},
        "lines": [
            {
                "name": breakable(line["name"]),
                "sku": breakable(line.get("sku") or ""),
                "quantity": " ".join(
                    filter(None, (format_decimal(line["quantity"], locale=locale), breakable(line.get("unit") or "")))
                ),
                "price": money(line["unit_price_minor"]),
                "amount": money(line["unit_price_minor"] * line["quantity"]),
            }
            for line in row["lines"]
        ],
        "sums": _sums(row, labels, locale, money),
        "total": money(row["total_minor"]),
        "payments": _payments(row, labels, money),
        "balance": money(row["total_minor"] - row["paid_minor"] if is_open else 0),
        "note": labels["credit_note"].format(number=row["credit_note"]) if row["credit_note"] else "",
    }


def breakable(text: str) -> str:
    """Return `text` with places to break in its long words, which would otherwise run over the next column."""
    return _LONG_WORD.sub(lambda word: ZERO_WIDTH_SPACE.join(_PIECE.findall(word[0])), text)


def render(text: Mapping[str, Any]) -> bytes:
    """Set the page, in some 10 ms of one core. Raises ConfigurationError when Typst is not installed."""
    try:
        import typst
    except ImportError as wrong:
        raise ConfigurationError(MISSING) from wrong
    return typst.compile(template(), sys_inputs={"invoice": orjson.dumps(text).decode()}, ignore_system_fonts=True)


@cache
def template() -> bytes:
    """The page's template, in Typst's language."""
    return files("chatledger_billing").joinpath(TEMPLATE).read_bytes()


def _sums(row: Row, labels: Mapping[str, str], locale: Locale, money: Any) -> list[dict[str, str]]:
    """What stands between the lines and the total; nothing where the total is their sum."""
    if not row["discount_minor"] and not row["taxes"]:
        return []
    sums = [{"name": labels["subtotal"], "note": "", "amount": money(row["subtotal_minor"])}]
    if row["discount_minor"]:
        names = breakable(", ".join(each["name"] for each in row["discounts"]))
        sums.append({"name": labels["discount"], "note": names, "amount": "−" + money(row["discount_minor"])})
    tax = labels["tax_included" if row["tax_inclusive"] else "tax"]
    for each in row["taxes"]:
        rate = format_decimal(each["rate_bp"] / PER_CENT_BP, locale=locale) + " %"
        base = labels["on"].format(base=money(each["base_minor"]))
        sums.append({"name": tax.format(rate=rate), "note": base, "amount": money(each["tax_minor"])})
    return sums


def _payments(row: Row, labels: Mapping[str, str], money: Any) -> list[dict[str, str]]:
    came = [
        {"name": labels["paid"], "note": breakable(each["reference"]), "amount": "−" + money(each["amount_minor"])}
        for each in row["payments"]
    ]
    went = [
        {"name": labels["refunded"], "note": breakable(each["reference"]), "amount": money(each["amount_minor"])}
        for each in row["refunds"]
    ]
    return [*came, *went]


def _locale(language: str, region: str) -> Locale:
    for name in (f"{language}_{region}", language):
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")
