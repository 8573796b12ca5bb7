"""Derived ids: version 5 UUIDs, the same for the same parts, another for any others."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.ids import NAMESPACE, ORDER_NUMBER_ALPHABET, derive_id, order_number
from tests.unit.strategies import texts

parts = st.lists(texts | st.integers(), max_size=5)


@given(parts)
def test_an_id_is_what_uuid5_makes_of_its_namespace_and_the_parts_with_their_lengths(given_parts: list[object]) -> None:
    name = "".join(f"{len(str(part))}:{part}" for part in given_parts)
    derived = derive_id(*map(str, given_parts))
    assert derived == str(uuid.uuid5(uuid.UUID(bytes=NAMESPACE), name))
    assert uuid.UUID(derived).version == 5
    assert uuid.UUID(derived).variant == uuid.RFC_4122


@given(parts, parts)
def test_other_parts_give_another_id(some: list[object], others: list[object]) -> None:
    same = [str(part) for part in some] == [str(part) for part in others]
    assert (derive_id(*map(str, some)) == derive_id(*map(str, others))) is same


@given(st.text("ab:12", max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_joining_parts_otherwise_gives_another_id(text: str, one: int, other: int) -> None:
    cut_here, cut_there = (text[:one], text[one:]), (text[:other], text[other:])
    assert (derive_id(*cut_here) == derive_id(*cut_there)) is (cut_here == cut_there)
    assert derive_id(text) != derive_id(*cut_here)


def test_the_namespace_never_changes() -> None:
    assert derive_id("order-form", "chat2desk", "inbox", "from_client", "1") == "39d712dc-a0b3-5f13-91c7-0f0debee0872"


@given(st.uuids().map(str))
def test_an_order_number_can_be_read_aloud(order_id: str) -> None:
    number = order_number(order_id)
    assert len(number) == 9
    assert number[4] == "-"
    assert set(number.replace("-", "")) <= set(ORDER_NUMBER_ALPHABET)
    assert not set("ILOU") & set(ORDER_NUMBER_ALPHABET)


def test_an_order_number_is_forty_bits_of_the_id() -> None:
    assert order_number("00000000-00ff-4fff-8fff-ffffffffffff") == "0000-0000"
    assert order_number("ffffffff-ffff-4fff-8fff-ffffffffffff") == "ZZZZ-ZZZZ"
    assert order_number("00000000-01ff-4fff-8fff-ffffffffffff") == "0000-0001"
