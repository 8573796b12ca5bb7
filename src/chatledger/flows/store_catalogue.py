"""Which product a name means: by sku, name or alias exactly, then by how alike the words are.

Numbers in a name (12mm, 20l) must be the product's own; words may be misspelt, in another order, or too few. Then
several products can fit equally well, and the client is asked. The index is made from names alone, once: stock and
prices may change under it. On a catalogue of 10,000 products a name takes well under 5 ms (`benchmarks/matching.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz, process

from chatledger.flows.store_list import ListLine, Reading
from chatledger.flows.store_tokens import MEASURE_UNITS, has_digit, name_tokens, unit_of
from chatledger.projects import Product, Store

Name = tuple[str, ...]
Names = tuple[tuple[str, str, str, tuple[str, ...]], ...]
"""Of each product: sku, unit, name and aliases."""

CHOICES_MAX = 9
"""More products than these are not asked about; the best ones are."""
MISSING_WORDS = 8
"""What a name that leaves out words of the product's loses of its 100 points."""
MISSING_NUMBERS = 2
"""What it loses for leaving out a number, such as the 12mm of a rod."""
_UNIT_LETTERS = "".join(sorted({letter for unit in MEASURE_UNITS for letter in unit}))
SIMILAR_WORDS_MAX = 20
WHOLE_NAMES_MAX = 50
"""How many similar words, and similar whole names, are looked at."""
CATALOGUES_MAX = 16
"""How many catalogues keep their index; a process has one for each of its stores."""


@dataclass(frozen=True, slots=True)
class _Spelling:
    """One way to call a product: how many words it has, its numbers, also without their units, and its place."""

    count: int
    numbers: frozenset[str]
    bare_numbers: frozenset[str]
    place: int


class CatalogueIndex:
    """The names of one catalogue, made ready for looking up. Products are known by their place in it."""

    def __init__(self, names: Names) -> None:
        self.skus: dict[str, int] = {sku.casefold(): place for place, (sku, _, _, _) in enumerate(names)}
        self.units = frozenset(map(unit_of, {unit for _, unit, _, _ in names}))
        self._exact: tuple[dict[Name, list[int]], ...] = ({}, {}, {})
        spellings: defaultdict[str, list[_Spelling]] = defaultdict(list)
        for place, (sku, _, name, aliases) in enumerate(names):
            self._exact[0].setdefault((sku.casefold(),), []).append(place)
            for known, written in ((self._exact[1], (name,)), (self._exact[2], aliases)):
                for tokens in map(name_tokens, written):
                    places = known.setdefault(tokens, [])
                    if place not in places:
                        places.append(place)
            for tokens in map(name_tokens, (name, *aliases)):
                words = [token for token in tokens if not has_digit(token)]
                numbers = frozenset(tokens) - frozenset(words)
                bare = frozenset(number.rstrip(_UNIT_LETTERS) for number in numbers)
                spellings[" ".join(words)].append(_Spelling(len(words), numbers, numbers | bare, place))
        self._texts = list(spellings)
        self._spellings = list(spellings.values())
        self._numbers = frozenset(number for same in self._spellings for each in same for number in each.bare_numbers)
        texts_with: defaultdict[str, set[int]] = defaultdict(set)
        for place, text in enumerate(self._texts):
            for word in text.split():
                texts_with[word].add(place)
        self._words = list(texts_with)
        self._texts_with = list(texts_with.values())

    def exactly(self, name: Name) -> Sequence[int]:
        """Return the products whose sku, else whose name, else one of whose aliases `name` is."""
        return next((known[name] for known in self._exact if name in known), ())

    def alike(self, name: Name, threshold: int, *, bare_numbers: bool) -> dict[int, float]:
        """Return the products that `name` may mean, each with its points from `threshold` to 100.

        With `bare_numbers` the 12 of "rod 12" stands for 12mm too; without it only 12mm does.
        """
        words = [token for token in name if not has_digit(token)]
        numbers = frozenset(name) - frozenset(words)
        if not words or not numbers <= self._numbers:
            return {}
        points: dict[int, float] = {}
        for text, likeness in self._similar_texts(words, threshold).items():
            for each in self._spellings[text]:
                if numbers <= (each.bare_numbers if bare_numbers else each.numbers):
                    reached = likeness - (MISSING_NUMBERS if len(numbers) < len(each.numbers) else 0)
                    if reached >= max(threshold, points.get(each.place, 0)):
                        points[each.place] = reached
        return points

    def _similar_texts(self, words: list[str], threshold: int) -> dict[int, float]:
        """Compare with whole texts, for misspellings and missing spaces, and word by word, for order and omissions."""
        whole = process.extract(
            " ".join(words), self._texts, scorer=fuzz.ratio, score_cutoff=threshold, limit=WHOLE_NAMES_MAX
        )
        similar = {place: likeness for _, likeness, place in whole}
        by_word = [self._texts_with_similar(word, threshold) for word in dict.fromkeys(words)]
        for text in set.intersection(*map(set, by_word)):
            likeness = sum(likenesses[text] for likenesses in by_word) / len(by_word)
            if self._spellings[text][0].count > len(by_word):
                likeness -= MISSING_WORDS
            if likeness > similar.get(text, 0):
                similar[text] = likeness
        return similar

    def _texts_with_similar(self, word: str, threshold: int) -> dict[int, float]:
        found: dict[int, float] = {}
        for _, likeness, place in process.extract(
            word, self._words, scorer=fuzz.ratio, score_cutoff=threshold, limit=SIMILAR_WORDS_MAX
        ):
            for text in self._texts_with[place]:
                found.setdefault(text, likeness)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a line means: none, one or several products, the best first, and the reading by which it does."""

    products: tuple[Product, ...] = ()
    reading: Reading | None = None


def find(line: ListLine, store: Store) -> Found:
    """Return what a line of a product list means."""
    index = index_of(store.catalogue)
    for reading in line.readings:
        for name in reading.names:
            if places := index.exactly(name):
                return _found(places, reading, store)
    best: tuple[float, Reading, dict[int, float]] | None = None
    for reading in line.readings:
        for name in reading.names:
            points = index.alike(name, store.match_threshold, bare_numbers=reading.counted)
            if points and (best is None or max(points.values()) > best[0]):
                best = max(points.values()), reading, points
    if best is None:
        return Found()
    most, reading, points = best
    close = [place for place, reached in points.items() if reached >= most - store.match_margin]
    return _found(sorted(close, key=lambda place: (-points[place], place)), reading, store)


def fits_unit(reading: Reading, product: Product) -> bool:
    """Whether the unit that the client wrote, if any, is the one that the product is sold by."""
    return reading.unit is None or reading.unit == unit_of(product.unit)


def _found(places: Iterable[int], reading: Reading, store: Store) -> Found:
    """Of several products those are meant that are sold by the client's unit; without one, none is."""
    products = tuple(store.catalogue[place] for place in places)
    if len(products) > 1:
        products = tuple(product for product in products if fits_unit(reading, product))
    return Found(products=products[:CHOICES_MAX], reading=reading if products else None)


def product_of(store: Store, sku: str | None) -> Product | None:
    """Return the product of a sku, None where the catalogue has it no more."""
    place = index_of(store.catalogue).skus.get((sku or "").casefold())
    return None if place is None else store.catalogue[place]


def index_of(catalogue: tuple[Product, ...]) -> CatalogueIndex:
    """Return the index of a catalogue: the one that was made before, where its names are the same."""
    for known, index in _RECENT:
        if known is catalogue:
            return index
    index = _index_of_names(tuple((product.sku, product.unit, product.name, product.aliases) for product in catalogue))
    _RECENT.insert(0, (catalogue, index))
    del _RECENT[CATALOGUES_MAX:]
    return index


@lru_cache(maxsize=CATALOGUES_MAX)
def _index_of_names(names: Names) -> CatalogueIndex:
    return CatalogueIndex(names)


_RECENT: list[tuple[tuple[Product, ...], CatalogueIndex]] = []
"""By identity: to compare 10,000 products at every message would take longer than to find one."""
