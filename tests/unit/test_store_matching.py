"""The catalogue's index: exact before alike, numbers as they are, the same answer each time, and quickly."""

from __future__ import annotations

import random
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.flows.store_catalogue import CHOICES_MAX, CatalogueIndex, find, index_of, product_of
from chatledger.flows.store_list import ListLine, Reading
from chatledger.flows.store_tokens import name_tokens, singular, unit_of
from chatledger.projects import Product, Store
from tests.unit.strategies import texts

SECONDS_PER_LINE_MAX = 0.1
"""Twenty times what is promised: tests share their processor. The benchmark measures."""


def store(*names: str, **aliases: tuple[str, ...]) -> Store:
    """A store whose skus are P0, P1, ...; aliases by sku."""
    return Store(
        currency="INR",
        catalogue=tuple(
            Product(sku=f"P{place}", name=name, unit="piece", price_minor=100, aliases=aliases.get(f"P{place}", ()))
            for place, name in enumerate(names)
        ),
    )


def line(name: str, *, counted: bool = True) -> ListLine:
    return ListLine(text=name, readings=(Reading(names=(name_tokens(name),), quantity=1, counted=counted),))


def found(name: str, known: Store) -> list[str]:
    return [product.sku for product in find(line(name), known).products]


def test_a_name_goes_before_an_alias_and_an_alias_before_what_is_alike() -> None:
    known = store("Sand", "River sand", "Sands", P1=("sand", "fine sand"))
    assert found("sand", known) == ["P0", "P2"]
    assert found("fine sand", known) == ["P1"]
    assert found("fine sandd", known) == ["P1"]


def test_an_alias_of_several_products_is_asked_about() -> None:
    assert found("rod", store("TMT bar", "Steel bar", P0=("rod",), P1=("rod",))) == ["P0", "P1"]


@pytest.mark.parametrize("name", ["rod 14mm", "steel rod 12", "steel rod 12cm", "12mm", "steel", "bar 12mm", ""])
def test_numbers_must_be_the_products_own(name: str) -> None:
    known = store("Steel rod 12mm")
    assert found(name, known) == (["P0"] if name in ("steel rod 12", "steel") else [])


def test_a_number_without_its_unit_counts_only_beside_a_quantity() -> None:
    known = store("Steel rod 12mm")
    assert find(line("steel rod 12", counted=False), known).products == ()


@pytest.mark.parametrize(
    "name", ["Copper wire 1.5 sqmm", "COPPER  WIRE 1.5sqmm", "copper wires 1.5 sq. mm", "copper-wire 1.5 sqmm"]
)
def test_case_plural_signs_and_spaces_are_no_difference(name: str) -> None:
    assert found(name, store("Copper wire 1.5 sqmm", "Copper wire 2.5 sqmm")) == ["P0"]


def test_only_so_many_products_are_asked_about_the_best_first() -> None:
    known = store("Wall tile", *(f"Floor tile {number}mm" for number in range(30)), "Tile")
    assert found("tile", known) == ["P31"]
    assert found("tile floor", known) == [f"P{number}" for number in range(1, CHOICES_MAX + 1)]


@given(st.lists(texts, min_size=1, max_size=8), texts)
def test_any_names_and_any_text_are_looked_up_without_an_error_and_alike_each_time(names: list[str], text: str) -> None:
    known = store(*(name or "x" for name in names))
    once = found(text, known)
    assert once == found(text, replace(known, catalogue=tuple(known.catalogue)))
    assert set(once) <= {product.sku for product in known.catalogue}


@given(st.lists(texts.filter(name_tokens), min_size=1, max_size=8, unique_by=name_tokens))
def test_every_product_is_found_by_its_own_name_unless_it_is_anothers_sku(names: list[str]) -> None:
    names = [name for name in names if not re.fullmatch(r"p\d+", "".join(name_tokens(name)))]
    if names:
        known = store(*names)
        assert [found(name, known) for name in names] == [[f"P{place}"] for place in range(len(names))]


def test_the_index_is_made_once_for_the_same_names_and_prices_stay_fresh() -> None:
    known = store("Cement", "Sand")
    dearer = replace(known, catalogue=tuple(replace(each, price_minor=7, stock=3) for each in known.catalogue))
    assert index_of(known.catalogue) is index_of(dearer.catalogue)
    assert index_of(known.catalogue) is not index_of(store("Cement", "Sands").catalogue)
    [cement] = find(line("cement"), dearer).products
    assert (cement.price_minor, cement.stock) == (7, 3)
    assert product_of(dearer, "p0") == cement
    assert product_of(dearer, "P9") is None


def test_a_name_among_ten_thousand_is_found_quickly() -> None:
    chance = random.Random(7)
    kinds = ["Steel", "PVC", "Copper", "Glass", "Brass", "Teak", "Marble", "Clay", "Granite", "Rubber"]
    things = ["rod", "pipe", "wire", "tile", "brick", "sheet", "door", "valve", "lamp", "hinge"]
    names = [f"{chance.choice(kinds)} {chance.choice(things)} {number}mm" for number in range(10_000)]
    index = CatalogueIndex(tuple((f"P{place}", "piece", name, ()) for place, name in enumerate(names)))
    begun = time.perf_counter()
    for name in names[::500]:
        misspelt = name.replace(" ", "", 1)
        assert index.alike(name_tokens(misspelt), 82, bare_numbers=False)
    assert (time.perf_counter() - begun) / 20 < SECONDS_PER_LINE_MAX


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("bags", "bag"), ("boxes", "box"), ("batteries", "battery"), ("glass", "glass"), ("gas", "gas"),
        ("tiles", "tile"), ("brushes", "brush"), ("bus", "bus"), ("लोग", "लोग"), ("ties", "tie"),
    ],
)  # fmt: skip
def test_english_plurals_have_a_singular(word: str, one: str) -> None:
    assert singular(word) == one


def test_units_have_one_way_of_writing() -> None:
    assert [unit_of(text) for text in ("Bags", "bag", "metres", "Kgs", " pieces. ", "SQFT")] == [
        "bag", "bag", "m", "kg", "piece", "sqft",
    ]  # fmt: skip
