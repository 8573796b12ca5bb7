"""Whom a campaign is for: everybody, a segment or a list, as it is asked for in JSON, checked and made a value. Pure.

    {"type": "all"}
    {"type": "segment", "orders": {"min": 1, "max": 9}, "spend": {"min": "50.00"}, "lastOrder": {"withinDays": 30},
     "tags": {"any": ["builder"], "all": ["vip"]}, "language": ["en", "hi"]}
    {"type": "list", "clients": ["+919876543210"], "channel": "twilio"}

Every condition of a segment must hold. An amount is a whole number of minor units, or a decimal in quotes; it is never
a float. A list may name clients who never wrote; where clients are phone numbers, each must be a valid one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, TypeVar

import phonenumbers
from babel.numbers import get_currency_precision

from chatledger.errors import InvalidFields
from chatledger.events.envelope import CONVERSATION_LENGTH_MAX, conversation_id
from chatledger.projects import Project

FIELD = "targetAudience"
LIST_CLIENTS_MAX = 20_000
LIST_CHARACTERS_MAX = 500_000
"""A list is part of one event, and a broker takes a megabyte."""
ERRORS_MAX = 20
"""Whoever has more wrong entries than this in a list reads no further."""
WORDS_MAX = 100
"""Of tags and languages."""
WORD_LENGTH_MAX = 64
COUNT_MAX = 2**31 - 1
AMOUNT_MINOR_MAX = 2**53 - 1
DAYS_MAX = 3_660
PHONE_CHANNELS = frozenset({"twilio", "meta"})
"""Channels whose clients are phone numbers in E.164."""

_CLIENT_ID = re.compile(r"[\w.:+@=-]{1,128}", re.ASCII)
_AMOUNT = re.compile(r"\d{1,15}(\.\d{1,6})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
Checked = TypeVar("Checked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everybody:
    """Every client of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The clients who meet every condition; None and empty ones ask for nothing.

    The last order is after `last_order_after`, before `last_order_before`, and at most so many days ago.
    """

    orders_min: int | None = None
    orders_max: int | None = None
    spend_minor_min: int | None = None
    spend_minor_max: int | None = None
    last_order_after: datetime | None = None
    last_order_before: datetime | None = None
    last_order_within_days: int | None = None
    tags_any: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientList:
    """These clients, each once, over one channel."""

    channel: str
    clients: tuple[str, ...]


Audience = Everybody | Segment | ClientList


def read_audience(asked: object, project: Project) -> Audience:
    """Check what was asked for. Raises InvalidFields that names the field, such as `targetAudience.spend.min`."""
    fields = _object(asked, FIELD)
    kind = fields.get("type")
    match kind:
        case "all":
            _only(fields, FIELD, "type")
            return Everybody()
        case "segment":
            return _segment(fields, project)
        case "list":
            return _list(fields, project)
    raise _wrong(f"{FIELD}.type", "must be all, segment or list")


def _segment(fields: Mapping[str, Any], project: Project) -> Segment:
    _only(fields, FIELD, "type", "orders", "spend", "lastOrder", "tags", "language")
    orders, spend = _part(fields, "orders", "min", "max"), _part(fields, "spend", "min", "max")
    last, tags = _part(fields, "lastOrder", "before", "after", "withinDays"), _part(fields, "tags", "any", "all")
    currency = _currency(project)
    segment = Segment(
        orders_min=_value(orders, "orders.min", _count(COUNT_MAX)),
        orders_max=_value(orders, "orders.max", _count(COUNT_MAX)),
        spend_minor_min=_value(spend, "spend.min", _amount(currency)),
        spend_minor_max=_value(spend, "spend.max", _amount(currency)),
        last_order_after=_value(last, "lastOrder.after", _moment),
        last_order_before=_value(last, "lastOrder.before", _moment),
        last_order_within_days=_value(last, "lastOrder.withinDays", _count(DAYS_MAX)),
        tags_any=_value(tags, "tags.any", _words) or (),
        tags_all=_value(tags, "tags.all", _words) or (),
        languages=_value(fields, "language", _words) or (),
    )
    if segment == Segment():
        raise _wrong(FIELD, "a segment has at least one condition; everybody is {'type': 'all'}")
    _ordered("orders", segment.orders_min, segment.orders_max)
    _ordered("spend", segment.spend_minor_min, segment.spend_minor_max)
    return segment


def _list(fields: Mapping[str, Any], project: Project) -> ClientList:
    _only(fields, FIELD, "type", "clients", "channel")
    channel = fields.get("channel") or next(iter(project.channels))
    if not isinstance(channel, str) or channel not in project.channels:
        raise _wrong(f"{FIELD}.channel", f"the project has {', '.join(project.channels)}")
    named = fields.get("clients")
    if not isinstance(named, list) or not 0 < len(named) <= LIST_CLIENTS_MAX:
        raise _wrong(f"{FIELD}.clients", f"must be a list of 1 to {LIST_CLIENTS_MAX} clients")
    wrong: dict[str, str] = {}
    clients: dict[str, None] = {}
    for index, each in enumerate(named):
        try:
            clients[client_id(each, channel, project)] = None
        except ValueError as refused:
            wrong[f"{FIELD}.clients[{index}]"] = str(refused)
    if wrong:
        raise InvalidFields(dict(list(wrong.items())[:ERRORS_MAX]))
    if sum(map(len, clients)) > LIST_CHARACTERS_MAX:
        raise _wrong(f"{FIELD}.clients", f"must have at most {LIST_CHARACTERS_MAX} characters in all")
    return ClientList(channel=channel, clients=tuple(clients))


def client_id(named: object, channel: str, project: Project) -> str:
    """Return the id that a client has on a channel: E.164 where that is a phone number. Raises ValueError."""
    if not isinstance(named, str):
        raise ValueError("must be text")
    if channel in PHONE_CHANNELS:
        try:
            number = phonenumbers.parse(named, project.region)
        except phonenumbers.NumberParseException as wrong:
            raise ValueError("is no phone number; write it with its country code, as in +919876543210") from wrong
        if not phonenumbers.is_valid_number(number):
            raise ValueError("is a phone number that nobody can have")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if _CLIENT_ID.fullmatch(named) is None:
        raise ValueError("must be 1 to 128 letters, digits or . : + @ = _ -")
    if len(conversation_id(project.name, channel, named)) > CONVERSATION_LENGTH_MAX:
        raise ValueError("is too long")
    return named


def _currency(project: Project) -> str | None:
    if project.store is not None:
        return project.store.currency
    price = project.offer.price if project.offer else None
    return price.currency if price else None


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "must be an object")
    return value


def _only(fields: Mapping[str, Any], field: str, *known: str) -> None:
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise _wrong(f"{field}.{unknown[0]}", f"is not known; there are {', '.join(known)}")


def _part(fields: Mapping[str, Any], name: str, *known: str) -> Mapping[str, Any]:
    if fields.get(name) is None:
        return {}
    part = _object(fields[name], f"{FIELD}.{name}")
    _only(part, f"{FIELD}.{name}", *known)
    return part


def _value(fields: Mapping[str, Any], path: str, read: Callable[[Any], Checked]) -> Checked | None:
    value = fields.get(path.rpartition(".")[2])
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as wrong:
        raise _wrong(f"{FIELD}.{path}", str(wrong)) from wrong


def _count(most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"must be a whole number from 0 to {most}")
        return value

    return read


def _amount(currency: str | None) -> Callable[[Any], int]:
    """Minor units as they are; a decimal in quotes is in the project's currency."""

    def read(value: Any) -> int:
        if not isinstance(value, str):
            return _count(AMOUNT_MINOR_MAX)(value)
        if currency is None:
            raise ValueError("the project has no currency: write minor units")
        if _AMOUNT.fullmatch(value) is None:
            raise ValueError("must be a number of minor units, or an amount in quotes such as '50.00'")
        decimals = get_currency_precision(currency)
        minor = Decimal(value).scaleb(decimals)
        if minor != minor.to_integral_value():
            raise ValueError(f"must be an amount with at most {decimals} decimals")
        return _count(AMOUNT_MINOR_MAX)(int(minor))

    return read


def _moment(value: Any) -> datetime:
    """A date is its beginning, in UTC."""
    said = "must be a date, or a time with an offset, such as 2026-01-31 or 2026-01-31T08:00:00+05:30"
    if not isinstance(value, str):
        raise ValueError(said)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as wrong:
        raise ValueError(said) from wrong
    if _DATE.fullmatch(value):
        return datetime.combine(moment, time(), UTC)
    if moment.tzinfo is None:
        raise ValueError(said)
    try:
        return moment.astimezone(UTC)
    except OverflowError as wrong:
        raise ValueError(said) from wrong


def _words(value: Any) -> tuple[str, ...]:
    fits = isinstance(value, list) and 0 < len(value) <= WORDS_MAX
    if not fits or not all(
        isinstance(each, str) and 0 < len(each) <= WORD_LENGTH_MAX and each.isprintable() for each in value
    ):
        raise ValueError(f"must be a list of 1 to {WORDS_MAX} words of at most {WORD_LENGTH_MAX} characters")
    return tuple(dict.fromkeys(value))


def _ordered(name: str, least: int | None, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        raise _wrong(f"{FIELD}.{name}", "min is greater than max")


def _wrong(field: str, what: str) -> InvalidFields:
    return InvalidFields({field: what})
