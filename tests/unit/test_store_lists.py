"""Product lists: what people write, and the cart, the questions and the refusals that come of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events import cart
from chatledger.flows.store_cart import Taking, vocabulary_of
from chatledger.flows.store_list import LINE_LENGTH_MAX, LINES_MAX, parse_list
from chatledger.shop import Shop
from chatledger.testing import ConversationTest, conversation_test
from tests.unit.projects_at_hand import STORE
from tests.unit.strategies import texts

LISTS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("product_lists.yaml").read_text("utf-8"))
assert STORE.store is not None
VOCABULARY = vocabulary_of(STORE, STORE.store)
SECONDS_MAX = 2.0
"""Far beyond what a text takes on a busy machine, and far below what one without bounds would."""

words = st.sampled_from(
    [
        "cement",
        "steel rod",
        "12mm",
        "100",
        "x",
        "-",
        ",",
        "\n",
        "bags",
        "1,000",
        "2.5",
        "and",
        "20 l",
        "paint",
        "0",
        "(",
    ]
)
lists = st.lists(words, max_size=30).map(" ".join) | texts


def in_cart(test: ConversationTest) -> dict[str | None, int]:
    assert test.state.shop is not None
    return {line.sku: line.quantity for line in test.state.shop.cart}


@pytest.mark.parametrize("case", LISTS, ids=[each["says"] for each in LISTS])
def test_a_list_becomes_the_cart_that_was_meant(case: dict[str, Any]) -> None:
    test = conversation_test(STORE).given("hi").when(case["says"])
    refused: dict[str, list[str]] = {}
    for event in test.events:
        for line in event.lines if isinstance(event, cart.ItemsRefused) else ():
            refused.setdefault(line.reason, []).append(line.text)
    asked = [[each.quantity, list(each.skus)] for each in test.events if isinstance(each, cart.ChoiceAsked)]
    assert (in_cart(test), refused, asked) == (case.get("cart", {}), case.get("refused", {}), case.get("asks", []))
    assert len(test.replies) == 1


def test_there_are_enough_lists() -> None:
    assert len(LISTS) >= 60
    assert len({each["says"] for each in LISTS}) == len(LISTS)


@given(lists)
def test_any_text_is_read_into_quantities_that_can_be_ordered_or_refused(text: str) -> None:
    for line in parse_list(text, VOCABULARY):
        for reading in line.readings:
            assert reading.quantity is None or reading.quantity >= 0
            assert all(reading.names)
            assert reading.names


@given(lists)
def test_every_line_is_taken_refused_or_asked_about_once(text: str) -> None:
    assert STORE.store is not None
    lines = parse_list(text, VOCABULARY)
    taking = Taking(store=STORE.store, shop=Shop())
    taken = 0
    for line in lines:
        before = len(taking.refused) + len(taking.choices)
        items = dict(taking.items)
        taking.take([line])
        taken += 1
        assert len(taking.refused) + len(taking.choices) - before + (items != taking.items) == 1
    assert taken == len(lines)
    assert all(1 <= item.quantity <= STORE.store.quantity_max for item in taking.items.values())


@pytest.mark.parametrize(
    "text",
    [
        "cement " * 5_000,
        "9" * 20_000,
        "1," * 20_000,
        "1,000" * 5_000,
        "cement 5, " * 5_000,
        "x" * 20_000,
        "12mm " * 5_000,
        "a, " * 10_000,
        "\n" * 20_000 + "cement 5",
        "cement and " * 4_000,
        "((((" * 5_000,
        "क्" * 10_000,
        "💥" * 10_000,
    ],
    ids=lambda text: f"{text[:12]!r}",
)
def test_a_very_long_text_takes_little_time_and_few_lines(text: str) -> None:
    test = conversation_test(STORE).given("hi")
    begun = time.perf_counter()
    test.when(text)
    assert time.perf_counter() - begun < SECONDS_MAX
    [reply] = test.replies
    assert len(reply) < 1_600
    for event in test.events:
        if isinstance(event, cart.ItemsRefused):
            assert len(event.lines) <= LINES_MAX + 1
            assert all(len(line.text) <= LINE_LENGTH_MAX for line in event.lines)


def test_lines_beyond_the_bound_are_refused_and_not_forgotten() -> None:
    text = "\n".join(["sand 1"] * (LINES_MAX + 10))
    test = conversation_test(STORE).given("hi").when(text)
    assert in_cart(test) == {"SAND-R": LINES_MAX}
    [refused] = [event for event in test.events if isinstance(event, cart.ItemsRefused)]
    assert [line.reason for line in refused.lines] == ["cart_full"]
