"""Differences between states, moments, and the fold of a client: the pure parts of time travel."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.ids import order_number
from chatledger_billing.history import order_id_prefix
from chatledger_cli.kinds import KINDS
from chatledger_ledger.differences import Change, changes
from chatledger_ledger.kinds import ClientFold
from chatledger_ledger.moments import NOW, Moment
from tests.support.time_travel import store_client

names = st.text("abc", min_size=1, max_size=2)
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xyz", max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
states = st.dictionaries(names, values, max_size=4)


@given(states, states)
def test_the_changes_lead_from_one_state_to_the_other(before, after):
    patched: dict[str, Any] = copy.deepcopy(before)
    for change in changes(before, after):
        _set(patched, re.findall(r"[^.\[\]]+", change.field), change.after)
    assert _without_nothing(patched) == _without_nothing(after)


@given(states, states)
def test_the_changes_the_other_way_are_the_same_ones_turned_round(before, after):
    there = {change.field: (change.before, change.after) for change in changes(before, after)}
    back = {change.field: (change.after, change.before) for change in changes(after, before)}
    assert there == back


@given(states)
def test_the_same_state_differs_in_nothing(state):
    assert changes(state, copy.deepcopy(state)) == []


def test_fields_are_named_by_their_place():
    before = {"status": "draft", "lines": [{"sku": "a", "quantity": 1}], "tags": ["x"], "shop": {"cart": None}}
    after = {"status": "draft", "lines": [{"sku": "a", "quantity": 2}, {"sku": "b"}], "tags": ["x", "y"]}
    assert changes(before, after) == [
        Change(field="lines[0].quantity", before=1, after=2),
        Change(field="lines[1]", before=None, after={"sku": "b"}),
        Change(field="tags", before=["x"], after=["x", "y"]),
        Change(field="shop", before={"cart": None}, after=None),
    ]
    assert changes(None, {"a": 1}) == [Change(field="a", before=None, after=1)]
    assert changes({"a": 1}, {"a": True}) == [Change(field="a", before=1, after=True)]


@given(st.uuids())
def test_an_orders_number_tells_what_its_id_begins_with(order_id):
    prefix = order_id_prefix(order_number(str(order_id)))
    assert prefix is not None
    assert len(prefix) == 11
    assert str(order_id).startswith(prefix)


@pytest.mark.parametrize("text", ["", "7QK2-M0XU", "7QK2-M0X", "INV-2026-000001", "7QK2-M0XFF", "ordinary"])
def test_what_is_no_orders_number_tells_nothing(text):
    assert order_id_prefix(text) is None


def test_moments_of_one_kind_can_be_put_in_order():
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert Moment(position=2).is_after(Moment(position=1))
    assert not Moment(position=1).is_after(Moment(position=1))
    assert Moment(time=noon + timedelta(seconds=1)).is_after(Moment(time=noon))
    assert not Moment(time=noon).is_after(Moment(position=1))
    assert NOW.is_after(Moment(position=1))
    assert not Moment(time=noon).is_after(NOW)
    assert not NOW.is_after(NOW)


def test_what_a_fold_has_shown_is_never_changed_by_what_comes():
    fold, shown = ClientFold(KINDS), []
    for _, envelope in store_client("77").placed:
        if envelope.stream.startswith(tuple(kind.prefix for kind in KINDS)):
            fold.add(envelope)
            shown.append((fold.shown(), copy.deepcopy(fold.shown())))
    assert all(then == kept for then, kept in shown)
    assert len({repr(kept) for _, kept in shown}) > len(shown) // 2


def _set(state: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        state = state[int(name)] if isinstance(state, list) else state[name]
    if not isinstance(state, list):
        state[path[-1]] = value
    elif int(path[-1]) < len(state):
        state[int(path[-1])] = value
    else:
        state.append(value)


def _without_nothing(value: Any) -> Any:
    """What is null counts as not there, and so does the end of a list."""
    if isinstance(value, dict):
        return {name: left for name, each in value.items() if (left := _without_nothing(each)) is not None}
    if isinstance(value, list):
        cleaned = [_without_nothing(each) for each in value]
        while cleaned and cleaned[-1] is None:
            cleaned.pop()
        return cleaned
    return value
