"""What may be asked for as a campaign's audience, and what each mistake is called."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.errors import InvalidFields
from chatledger.projects import ChannelSettings, Product, Project, Store
from chatledger_outreach.audience import (
    LIST_CHARACTERS_MAX,
    LIST_CLIENTS_MAX,
    ClientList,
    Everybody,
    Segment,
    read_audience,
)
from tests.unit.strategies import json_values

STORE = Project(
    name="store",
    flow="store",
    languages=("en",),
    region="IN",
    channels={"twilio": ChannelSettings()},
    texts={},
    words={},
    store=Store(currency="INR", catalogue=(Product(sku="CEM", name="Cement", unit="bag", price_minor=5_000),)),
)
TWO_CHANNELS = replace(STORE, channels={"twilio": ChannelSettings(), "chat2desk": ChannelSettings()})


def test_everybody() -> None:
    assert read_audience({"type": "all"}, STORE) == Everybody()


def test_a_segment_is_every_condition_that_it_names() -> None:
    asked = {
        "type": "segment",
        "orders": {"min": 1, "max": 9},
        "spend": {"min": "1500.50", "max": 900_000},
        "lastOrder": {"after": "2026-01-31", "before": "2026-11-01T00:00:00+05:30", "withinDays": 30},
        "tags": {"any": ["builder", "builder", "vip"], "all": ["pays on time"]},
        "language": ["en", "hi"],
    }
    assert read_audience(asked, STORE) == Segment(
        orders_min=1,
        orders_max=9,
        spend_minor_min=150_050,
        spend_minor_max=900_000,
        last_order_after=datetime(2026, 1, 31, tzinfo=UTC),
        last_order_before=datetime(2026, 10, 31, 18, 30, tzinfo=UTC),
        last_order_within_days=30,
        tags_any=("builder", "vip"),
        tags_all=("pays on time",),
        languages=("en", "hi"),
    )


def test_a_list_has_each_phone_number_once_in_one_form() -> None:
    asked = {"type": "list", "clients": ["+91 99000 00001", "099000 00002", "+919900000001"]}
    clients = ("+919900000001", "+919900000002")
    assert read_audience(asked, STORE) == ClientList(channel="twilio", clients=clients)


def test_a_list_of_clients_who_are_no_phone_numbers() -> None:
    asked = {"type": "list", "channel": "chat2desk", "clients": ["77", "a.b:c"]}
    assert read_audience(asked, TWO_CHANNELS) == ClientList(channel="chat2desk", clients=("77", "a.b:c"))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (None, ""),
        ([], ""),
        ({}, ".type"),
        ({"type": "everybody"}, ".type"),
        ({"type": ["all"]}, ".type"),
        ({"type": "all", "orders": {"min": 1}}, ".orders"),
        ({"type": "segment"}, ""),
        ({"type": "segment", "order": {}}, ".order"),
        ({"type": "segment", "orders": 3}, ".orders"),
        ({"type": "segment", "orders": {"least": 3}}, ".orders.least"),
        ({"type": "segment", "orders": {"min": "3"}}, ".orders.min"),
        ({"type": "segment", "orders": {"min": True}}, ".orders.min"),
        ({"type": "segment", "orders": {"max": -1}}, ".orders.max"),
        ({"type": "segment", "orders": {"max": 10**20}}, ".orders.max"),
        ({"type": "segment", "orders": {"min": 3, "max": 2}}, ".orders"),
        ({"type": "segment", "spend": {"min": 10.5}}, ".spend.min"),
        ({"type": "segment", "spend": {"min": "10.505"}}, ".spend.min"),
        ({"type": "segment", "spend": {"min": "ten"}}, ".spend.min"),
        ({"type": "segment", "spend": {"min": "NaN"}}, ".spend.min"),
        ({"type": "segment", "spend": {"min": "1e999999999"}}, ".spend.min"),
        ({"type": "segment", "spend": {"max": "-1"}}, ".spend.max"),
        ({"type": "segment", "spend": {"min": "3", "max": 299}}, ".spend"),
        ({"type": "segment", "lastOrder": {"after": "yesterday"}}, ".lastOrder.after"),
        ({"type": "segment", "lastOrder": {"after": "2026-01-31T10:00:00"}}, ".lastOrder.after"),
        ({"type": "segment", "lastOrder": {"before": "0001-01-01T00:00:00+14:00"}}, ".lastOrder.before"),
        ({"type": "segment", "lastOrder": {"before": 20260131}}, ".lastOrder.before"),
        ({"type": "segment", "lastOrder": {"withinDays": 1.5}}, ".lastOrder.withinDays"),
        ({"type": "segment", "tags": ["vip"]}, ".tags"),
        ({"type": "segment", "tags": {"any": []}}, ".tags.any"),
        ({"type": "segment", "tags": {"all": "vip"}}, ".tags.all"),
        ({"type": "segment", "tags": {"all": ["v\0p"]}}, ".tags.all"),
        ({"type": "segment", "language": "en"}, ".language"),
        ({"type": "segment", "language": [["en"]]}, ".language"),
        ({"type": "list"}, ".clients"),
        ({"type": "list", "clients": []}, ".clients"),
        ({"type": "list", "clients": ["77"] * (LIST_CLIENTS_MAX + 1)}, ".clients"),
        ({"type": "list", "clients": ["+919900000001", "hello"]}, ".clients[1]"),
        ({"type": "list", "clients": ["+9199"]}, ".clients[0]"),
        ({"type": "list", "clients": [919900000001]}, ".clients[0]"),
        ({"type": "list", "clients": ["77"], "channel": "telegram"}, ".channel"),
        ({"type": "list", "clients": ["77"], "channel": ["twilio"]}, ".channel"),
        ({"type": "list", "clients": ["7/7"], "channel": "chat2desk"}, ".clients[0]"),
    ],
)
def test_a_mistake_is_named_by_its_field(asked: Any, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        read_audience(asked, TWO_CHANNELS)
    assert list(refused.value.fields) == [f"targetAudience{field}"]
    assert all(refused.value.fields.values())


def test_a_list_that_no_record_can_hold_is_refused() -> None:
    clients = [f"{number:0128}" for number in range(LIST_CHARACTERS_MAX // 128 + 1)]
    with pytest.raises(InvalidFields, match=str(LIST_CHARACTERS_MAX)):
        read_audience({"type": "list", "channel": "chat2desk", "clients": clients}, TWO_CHANNELS)


def test_a_decimal_amount_needs_a_currency() -> None:
    asked = {"type": "segment", "spend": {"min": "10.00"}}
    with pytest.raises(InvalidFields, match="minor units"):
        read_audience(asked, replace(STORE, store=None))
    minor = {"type": "segment", "spend": {"min": 1_000}}
    assert read_audience(minor, replace(STORE, store=None)) == Segment(spend_minor_min=1_000)


PARTS = st.sampled_from(["type", "orders", "spend", "lastOrder", "tags", "language", "clients", "channel"])
INNER = st.sampled_from(["min", "max", "before", "after", "withinDays", "any", "all"])
VALUES = json_values | st.dictionaries(INNER, json_values, max_size=3)
KINDS = st.sampled_from(["all", "segment", "list"]).map(lambda kind: {"type": kind})


@given(st.builds(lambda kind, more: kind | more, KINDS, st.dictionaries(PARTS, VALUES, max_size=3)) | json_values)
def test_whatever_is_asked_for_is_an_audience_or_a_field_to_mend(asked: Any) -> None:
    fields = {"targetAudience": ""}
    try:
        assert isinstance(read_audience(asked, TWO_CHANNELS), Everybody | Segment | ClientList)
    except InvalidFields as refused:
        fields = refused.fields
    assert fields
    assert all(name.startswith("targetAudience") for name in fields)
