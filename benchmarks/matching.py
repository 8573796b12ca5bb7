"""How long one line of a product list takes among 10,000 products, against rapidfuzz over all names.

The lines are names as clients write them: a third as it is, a third misspelt, a third with words left out or unknown.
Ours is the whole way from text to products, parsing included; the peer is one `process.extract` by WRatio, and answers
no more than which names are similar. Both ways run over the same lines, in turns, in this process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from statistics import median

from rapidfuzz import fuzz, process

from benchmarks.report import report
from chatledger.flows.store_catalogue import find, index_of
from chatledger.flows.store_list import Vocabulary, parse_list
from chatledger.projects import Product, Store

PRODUCTS = 10_000
LINES = 300
ROUNDS = 3
WORDS = (
    "ACC Tata Birla Asian Berger Havells Jaquar Kajaria Ambuja Supreme",
    "premium classic super ultra heavy light eco royal star max gold silver blue red white black",
    "steel PVC copper iron wood glass ceramic marble granite brass plastic rubber clay wall floor",
    "cement brick tile paint pipe wire rod nail screw bolt panel sheet door hinge valve switch lamp",
)
"""A product's name has one word of each line, and a size."""
SIZES = ["mm", " kg", " l", " inch"]


def run() -> None:
    """Print matching_line (ms per line), ours against the peer."""
    chance = random.Random(20_260_105)
    store = Store(currency="INR", catalogue=tuple(_products(chance)))
    names = [product.name for product in store.catalogue]
    lines = [_line(chance, names, number) for number in range(LINES)]
    vocabulary = Vocabulary(units=frozenset({"piece"}), skus=index_of(store.catalogue).skus.keys())

    def ours(text: str) -> None:
        for line in parse_list(text, vocabulary):
            find(line, store)

    def peer(text: str) -> None:
        process.extract(text, names, scorer=fuzz.WRatio, limit=9)

    times = [(_ms_per_line(ours, lines), _ms_per_line(peer, lines)) for _ in range(ROUNDS)]
    ours_ms, peer_ms = (median(each) for each in zip(*times, strict=True))
    report("matching_line", "ms per line of 10,000 products", ours_ms, peer_ms, "rapidfuzz WRatio over all names")


def _ms_per_line(match: Callable[[str], None], lines: Sequence[str]) -> float:
    begun = time.perf_counter()
    for line in lines:
        match(line)
    return (time.perf_counter() - begun) * 1000 / len(lines)


def _products(chance: random.Random) -> list[Product]:
    names: dict[str, None] = {}
    while len(names) < PRODUCTS:
        words = [chance.choice(each.split()) for each in WORDS]
        names[f"{' '.join(words)} {chance.randint(1, 99)}{chance.choice(SIZES)}"] = None
    return [
        Product(sku=f"SKU-{place}", name=name, unit="piece", price_minor=100 * (place + 1))
        for place, name in enumerate(names)
    ]


def _line(chance: random.Random, names: Sequence[str], number: int) -> str:
    name = chance.choice(names)
    if number % 3 == 1:
        gap = chance.randrange(3, len(name) // 2)
        name = name[:gap] + name[gap + 1 :]
    elif number % 3 == 2:
        words = name.split()
        name = " ".join(words[1:3]) if number % 2 else f"{words[0]} thingummy"
    return f"{name} x {chance.randint(1, 500)}"


if __name__ == "__main__":
    run()
