"""Zoho CRM's records, read and written: pure, and without floats. Its API is version 8.

Source: https://www.zoho.com/crm/developer/docs/api/v8/ and https://github.com/zoho/crm-oas
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson
from babel.numbers import get_currency_precision

from chatledger.errors import ChatledgerError, OutsideUnavailable
from chatledger.events.money import MINOR_MAX
from chatledger.events.orders import OrderCreated
from chatledger.pricing import amounts

STATUSES: Mapping[str, str] = {
    "draft": "Created",
    "confirmed": "Approved",
    "processing": "Approved",
    "shipped": "Approved",
    "delivered": "Delivered",
    "cancelled": "Cancelled",
}
"""Our statuses in the words of Zoho's own list."""


class Refused(ChatledgerError):
    """Zoho will not take this as it is, now or later."""


class Unreadable(OutsideUnavailable):
    """The answer is not what Zoho's API says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZohoProduct:
    """One product as Zoho has it. None: no price, or no stock, that could be used."""

    code: str
    reference: str
    price_minor: int | None
    stock: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductPage:
    """One page of products, and the token of the next, if there is one."""

    products: tuple[ZohoProduct, ...]
    next_token: str | None


def read_products(body: bytes, currency: str) -> ProductPage:
    """Read one page. Raises Unreadable."""
    document = _object(body)
    records, info = document.get("data"), document.get("info")
    if not isinstance(records, list) or not isinstance(info, dict):
        raise Unreadable("Zoho's list of products has no data or no info")
    products = tuple(
        ZohoProduct(
            code=record["Product_Code"].strip(),
            reference=str(record["id"]),
            price_minor=_minor(record.get("Unit_Price"), currency),
            stock=_stock(record.get("Qty_in_Stock")),
        )
        for record in records
        if isinstance(record, dict) and isinstance(record.get("Product_Code"), str) and record.get("id")
    )
    token = info.get("next_page_token") if info.get("more_records") is True else None
    if token is not None and not isinstance(token, str):
        raise Unreadable("Zoho's list of products goes on, but does not say where")
    return ProductPage(products=products, next_token=token)


def read_token(body: bytes) -> str | None:
    """Read an access token, None where there is none. Raises Unreadable."""
    token = _object(body).get("access_token")
    return token if isinstance(token, str) and token else None


def read_reference(body: bytes) -> str:
    """Read the id of the one record that was saved. Raises Refused, saying why, or Unreadable."""
    record = _first(body)
    if record.get("status") != "success":
        _refuse(record)
    details = record.get("details")
    reference = details.get("id") if isinstance(details, dict) else None
    if not isinstance(reference, str) or not reference:
        raise Unreadable("Zoho saved a record and does not say its id")
    return reference


def read_found(body: bytes) -> str:
    """Read the id of the first record that was found. Raises Unreadable."""
    reference = _first(body).get("id")
    if not isinstance(reference, str):
        raise Unreadable("Zoho found a record and does not say its id")
    return reference


def read_refusal(body: bytes) -> str:
    """Read why a request was refused: Zoho's code and, where it says so, the field. No values: they may be personal."""
    try:
        document = _object(body)
        records = document.get("data")
        return _reason(records[0] if isinstance(records, list) and records else document)
    except (Unreadable, AttributeError):
        return "no reason that could be read"


def account_body(client_id: str) -> bytes:
    """The account that a client's orders belong to, by its name, which Zoho keeps unique."""
    return orjson.dumps({"data": [{"Account_Name": client_id}], "duplicate_check_fields": ["Account_Name"]})


def order_body(order: OrderCreated, status: str, *, account: str, products: Mapping[str, str]) -> bytes:
    """A new sales order, whole. `products` maps each sku to Zoho's id. Raises Refused where one is not there."""
    missing = sorted({line.sku or line.name for line in order.lines if line.sku is None or line.sku not in products})
    if missing:
        raise Refused(f"Zoho has no product with the code {', '.join(missing)}")
    record: dict[str, Any] = {
        "Subject": order.order_number,
        "Status": STATUSES.get(status, status),
        "Account_Name": {"id": account},
        "Ordered_Items": [
            {"Product_Name": {"id": products[line.sku or ""]}, "Quantity": line.quantity}
            | _price("List_Price", line.unit_price_minor, order.currency)
            for line in order.lines
        ],
    }
    discount = amounts(order.lines, order.discounts, tax_inclusive=order.tax_inclusive).discount_minor
    return _upsert(record | _price("Discount", discount or None, order.currency))


def status_body(order_number: str, status: str, *, reference: str) -> bytes:
    """A sales order that Zoho has, with its status alone: items that are sent again would be added again."""
    return _upsert({"id": reference, "Subject": order_number, "Status": STATUSES.get(status, status)})


def _upsert(record: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"data": [record], "duplicate_check_fields": ["Subject"]})


def _price(name: str, minor: int | None, currency: str | None) -> dict[str, Any]:
    """An amount as a JSON number, digit by digit."""
    if minor is None or currency is None:
        return {}
    decimals = get_currency_precision(currency)
    return {name: orjson.Fragment(f"{Decimal(minor).scaleb(-decimals):.{decimals}f}")}


def _minor(value: Any, currency: str) -> int | None:
    """Whole minor units, None where it is no amount of this currency."""
    amount = _decimal(value)
    if amount is None or amount < 0:
        return None
    scaled = amount.scaleb(get_currency_precision(currency))
    return int(scaled) if scaled == scaled.to_integral_value() and scaled < MINOR_MAX else None


def _stock(value: Any) -> int | None:
    """Whole pieces: of half a piece nothing can be sold, and of less than none neither."""
    amount = _decimal(value)
    if amount is None or amount >= MINOR_MAX:
        return None
    return max(0, int(amount.to_integral_value(rounding=ROUND_FLOOR)))


def _decimal(value: Any) -> Decimal | None:
    """A JSON number, or a number in a string, as exactly what it says."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount.adjusted()) < 30 else None


def _first(body: bytes) -> dict[str, Any]:
    records = _object(body).get("data")
    if not isinstance(records, list) or not records or not isinstance(records[0], dict):
        raise Unreadable("Zoho's answer has no record")
    return records[0]


def _refuse(record: Mapping[str, Any]) -> NoReturn:
    raise Refused(_reason(record))


def _reason(record: Mapping[str, Any]) -> str:
    details = record.get("details")
    field = details.get("api_name") if isinstance(details, dict) else None
    code = str(record.get("code") or "no reason that could be read")[:200]
    return f"{code}: {str(field)[:100]}" if field else code


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError, ArithmeticError) as wrong:
        raise Unreadable("Zoho's answer is not JSON") from wrong
    if not isinstance(document, dict):
        raise Unreadable("Zoho's answer is not a JSON object")
    return document


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
