"""What differs between recorded and decided events, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events import cart, dialog
from chatledger.events.orders import OrderLine
from chatledger.what_if import Kind, changes

REPLY = dialog.ReplyRequested(channel="twilio", client_id="+919900000001", text="Hello", reply_to={"to": "a"})
LINE = OrderLine(name="Cement", quantity=10, unit_price_minor=5_000, sku="CEM", unit="bag")
ORDER = dialog.OrderPlaced(
    order_id="1", order_number="7QK2-M0XF", lines=(LINE,), currency="INR", address="Baker Street", phone=""
)
KEPT = cart.CartKept()
ANY = st.lists(st.sampled_from([REPLY, replace(REPLY, text="Bye"), ORDER, KEPT, dialog.MessageDeferred()]), max_size=6)


@given(ANY)
def test_the_same_events_do_not_differ(events):
    assert changes(events, list(events)) == ()


@given(ANY, ANY)
def test_changes_account_for_each_event_that_is_not_on_both_sides(recorded, decided):
    found = changes(recorded, decided)
    assert (found == ()) == (recorded == decided)
    old = [each.recorded_place for each in found if each.recorded_place is not None]
    new = [each.decided_place for each in found if each.decided_place is not None]
    assert old == sorted(set(old))
    assert new == sorted(set(new))
    left = [event for place, event in enumerate(recorded) if place not in old]
    assert left == [event for place, event in enumerate(decided) if place not in new]


def test_a_reply_that_says_something_else_is_a_changed_text():
    (change,) = changes([KEPT, REPLY], [KEPT, replace(REPLY, text="Good day")])
    assert (change.kind, change.type) == (Kind.TEXT, "reply.requested")
    assert (change.recorded_place, change.decided_place) == (1, 1)
    (field,) = change.fields
    assert (field.path, field.recorded, field.decided, field.personal) == ("text", "Hello", "Good day", True)


def test_a_field_is_named_by_its_path_and_says_whether_it_is_personal():
    other = replace(ORDER, lines=(replace(LINE, unit_price_minor=5_500), LINE), address="Elm Street")
    (change,) = changes([ORDER], [other])
    assert change.kind is Kind.DATA
    assert [(each.path, each.recorded, each.decided, each.personal) for each in change.fields] == [
        ("lines[0].unit_price_minor", 5_000, 5_500, False),
        ("lines[1]", None, LINE, False),
        ("address", "Baker Street", "Elm Street", True),
    ]


@pytest.mark.parametrize(
    ("changed", "path"),
    [({"client_id": "+1"}, "client_id"), ({"reply_to": {"to": "b"}}, "reply_to.to"), ({"reply_to": {}}, "reply_to.to")],
)
def test_a_reply_to_somebody_else_is_changed_data(changed, path):
    (change,) = changes([REPLY], [replace(REPLY, **changed)])
    assert change.kind is Kind.DATA
    assert [each.path for each in change.fields] == [path]


def test_events_on_one_side_were_added_or_removed():
    found = changes([REPLY, KEPT], [ORDER, REPLY])
    assert [(each.kind, each.type) for each in found] == [(Kind.ADDED, "order.placed"), (Kind.REMOVED, "cart.kept")]


def test_a_list_where_the_record_has_a_tuple_is_no_change():
    lines: Any = [LINE]
    assert changes([ORDER], [replace(ORDER, lines=lines)]) == ()
