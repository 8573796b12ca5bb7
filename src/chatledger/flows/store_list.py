"""Product lists: from "Cement x 100, 50 bags sand" to lines, each with the ways in which it can be read.

Which number is the quantity is not always said: the 12 of "12 mm" is a part of the name, the 20 of "rod 20" is not,
and of "paint 20 l" only the catalogue knows. So a line comes with its readings, the likeliest first, and the catalogue
chooses (`store_catalogue`). A bare name means one. Lengths and counts are bounded, so that no text takes long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache

from chatledger.flows.store_tokens import Kind, Token, clean, names_only, singular, tokens_of

LINES_MAX = 50
"""More lines of one message are not read; the last of the result says so."""
LINE_LENGTH_MAX = 200
TOKENS_MAX = 24
NUMBERS_MAX = 4
"""No product's name has as many words, and no line as many numbers; they bound the time that a line takes."""
TEXT_LENGTH_MAX = LINES_MAX * LINE_LENGTH_MAX

_NUMBERED = re.compile(r"\s*\d{1,2}[.)](?=\s|[^\W\d_])\s*")
"""`1. cement 100`: the place in a list, where there are several lines or another number."""
_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])")
_AND = re.compile(r"\s+(?:and|&|\+)\s+")
_PLAIN_COMMA, _KEPT_COMMA = ",", "\ue000"
"""A comma that parts no lines is kept apart as a character that nobody writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the words of a list can mean: `units` that the catalogue counts in, `pieces` that count anything,
    `fillers` that say nothing, and the products' `skus`, in small letters."""

    units: Set[str] = frozenset()
    pieces: Set[str] = frozenset()
    fillers: Set[str] = frozenset()
    skus: Set[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to read a line. `names` are its name in normal form, whole and without words that may not belong to it.

    `quantity` None is a number that cannot be ordered, such as 2.5. `unit` is the one behind the quantity, if it is
    one of the catalogue's or a measure. `counted` is False where no quantity was written.
    """

    names: tuple[tuple[str, ...], ...]
    quantity: int | None
    unit: str | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLine:
    """One line as it was written, and its readings. A line beyond LINES_MAX has none, and `beyond` is True."""

    text: str
    readings: tuple[Reading, ...]
    beyond: bool = False

    @property
    def counted(self) -> bool:
        """Whether there is a number that may be a quantity."""
        return any(reading.counted for reading in self.readings)


def parse_list(text: str, vocabulary: Vocabulary) -> tuple[ListLine, ...]:
    """Return the lines of a product list. Anything can be one; text without letters or numbers has no lines."""
    lines: list[ListLine] = []
    for piece in _pieces(text[:TEXT_LENGTH_MAX], vocabulary):
        if len(lines) == LINES_MAX:
            return (*lines, ListLine(text=_shown(piece), readings=(), beyond=True))
        lines.append(ListLine(text=_shown(piece), readings=_readings(piece, vocabulary)))
    return tuple(lines)


def _shown(piece: str) -> str:
    return " ".join(piece.replace(_KEPT_COMMA, _PLAIN_COMMA).split())[:LINE_LENGTH_MAX]


def _pieces(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Part the text into lines: at line ends, semicolons, commas, and at an "and" between two quantities.

    A part without a name ("100", "19 l") belongs to the part before it.
    """
    rows = [row for row in re.split(r"[\r\n\u2028\u2029;]+", text) if row.strip()]
    parts: list[str] = []
    for row in rows:
        numbered = _NUMBERED.match(row) if len(rows) > 1 or len(re.findall(r"\d+", row)) > 1 else None
        for part in _at_commas(row[numbered.end() :] if numbered else row, vocabulary):
            if len(parts) > LINES_MAX:
                return _forward(parts, vocabulary)
            for one in _at_ands(part, vocabulary):
                if not _says_something(one, vocabulary):
                    continue
                joins = parts and len(parts[-1]) < LINE_LENGTH_MAX and not _has_name(one, vocabulary)
                if joins and not _has_quantity(parts[-1], vocabulary):
                    parts[-1] = f"{parts[-1]} {one}"
                else:
                    parts.append(one)
    return _forward(parts, vocabulary)


def _forward(parts: list[str], vocabulary: Vocabulary) -> Iterator[str]:
    """Join a nameless first part ("100, cement") to the one behind it."""
    if len(parts) > 1 and not _has_name(parts[0], vocabulary) and not _has_quantity(parts[1], vocabulary):
        parts = [f"{parts[0]} {parts[1]}", *parts[2:]]
    return iter(parts)


def _at_commas(row: str, vocabulary: Vocabulary) -> list[str]:
    """Split at commas, but for those inside of a number: 1,000 and 2,5 are one, "cement 5,10 bricks" is two."""
    row = _THOUSANDS.sub(lambda found: found[0].replace(",", _KEPT_COMMA), row)
    parts = re.split(r",(?!\d)|(?<!\d),", row)
    split: list[str] = []
    for part in parts:
        halves = _BETWEEN_DIGITS.split(part)
        if all(_has_name(half, vocabulary) for half in halves):
            split += halves
        else:
            split.append(part.replace(_PLAIN_COMMA, _KEPT_COMMA))
    return split


def _at_ands(part: str, vocabulary: Vocabulary) -> list[str]:
    halves = _AND.split(part)
    whole = all(_has_name(half, vocabulary) and _has_quantity(half, vocabulary) for half in halves)
    return halves if whole else [part]


def _says_something(part: str, vocabulary: Vocabulary) -> bool:
    numbers = (Kind.NUMBER, Kind.MEASURE)
    return _has_name(part, vocabulary) or any(token.kind in numbers for token in _tokens(part, vocabulary))


def _has_name(part: str, vocabulary: Vocabulary) -> bool:
    no_names = vocabulary.units | vocabulary.pieces | vocabulary.fillers
    return any(
        token.kind is Kind.SKU or (token.kind is Kind.WORD and token.text not in no_names)
        for token in _tokens(part, vocabulary)
    )


def _has_quantity(part: str, vocabulary: Vocabulary) -> bool:
    return any(token.kind is Kind.NUMBER for token in _tokens(part, vocabulary))


def _tokens(part: str, vocabulary: Vocabulary) -> list[Token]:
    """Return the tokens, with a word that is a product's sku as one."""
    tokens: list[Token] = []
    between: list[str] = []
    for word in clean(part[:LINE_LENGTH_MAX].replace(_KEPT_COMMA, _PLAIN_COMMA)).split():
        bare = word.strip('.,:()*"')
        if bare in vocabulary.skus:
            tokens += [*tokens_of(" ".join(between)), Token(Kind.SKU, bare)]
            between = []
        else:
            between.append(word)
    return [*tokens, *tokens_of(" ".join(between))][:TOKENS_MAX]


def _readings(part: str, vocabulary: Vocabulary) -> tuple[Reading, ...]:
    tokens = _tokens(part, vocabulary)
    readings = list(_of_tokens(tokens, vocabulary))
    if any(token.kind is Kind.SKU for token in tokens):  # a sku that is a number, or a word of another name
        readings += _of_tokens(_tokens(part, Vocabulary(units=vocabulary.units, pieces=vocabulary.pieces)), vocabulary)
    return tuple(readings)


def _of_tokens(tokens: list[Token], vocabulary: Vocabulary) -> Iterator[Reading]:
    """Yield the readings of a line: each number as its quantity, the likeliest first, and last none of them."""
    ranks = {place: rank for place in range(len(tokens)) if (rank := _rank(tokens, place, vocabulary)) is not None}
    marked = [place for place, rank in ranks.items() if rank == 0]
    for place in (marked or sorted(ranks, key=lambda place: (ranks[place], place)))[:NUMBERS_MAX]:
        token = tokens[place]
        negative = [each.kind for each in tokens[max(0, place - 2) : place]] == [Kind.TIMES, Kind.SEPARATOR]
        if names := _names([*tokens[:place], *tokens[place + 1 :]], vocabulary):
            unit = token.unit or _unit_beside(tokens, place, vocabulary)
            yield Reading(names=names, quantity=None if negative else token.value, unit=unit)
    names = _names(tokens, vocabulary)
    if names and not marked:
        yield Reading(names=names, quantity=1, counted=False)


def _rank(tokens: list[Token], place: int, vocabulary: Vocabulary) -> int | None:
    """How little a token looks like the quantity: 0 is "x 100", 1 "100 bags", 2 "- 100", 3 the last or first thing.

    None: not at all, such as the 53 of "OPC 53 cement".
    """
    before, after = tokens[:place], tokens[place + 1 :]
    if tokens[place].kind is Kind.MEASURE:
        return 4
    if tokens[place].kind is not Kind.NUMBER:
        return None
    beside = [*before[-1:], *after[:1]]
    signs = [each.kind for each in before[-2:]]
    if any(each.kind is Kind.TIMES for each in beside) or signs == [Kind.TIMES, Kind.SEPARATOR]:
        return 0
    if any(_counts(each, vocabulary) for each in beside):
        return 1
    if _says_nothing(after, vocabulary):
        return 2 if signs[-1:] == [Kind.SEPARATOR] else 3
    return 3 if _says_nothing(before, vocabulary) else None


def _says_nothing(tokens: list[Token], vocabulary: Vocabulary) -> bool:
    return all(token.kind is Kind.SEPARATOR or token.text in vocabulary.fillers for token in tokens)


def _counts(token: Token, vocabulary: Vocabulary) -> bool:
    return token.kind is Kind.WORD and (token.text in vocabulary.units or token.text in vocabulary.pieces)


def _unit_beside(tokens: list[Token], place: int, vocabulary: Vocabulary) -> str | None:
    """Return the unit right behind the quantity, else right before it, if it is one of the catalogue's."""
    for near in (place + 1, place - 1):
        if 0 <= near < len(tokens) and tokens[near].kind is Kind.WORD and tokens[near].text in vocabulary.units:
            return None if tokens[near].text in vocabulary.pieces else tokens[near].text
    return None


def _names(tokens: list[Token], vocabulary: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """Return the name in normal form: whole, without words for units, without fillers too. Empty names are left out."""
    whole = names_only(tokens)
    no_units = tuple(text for text in whole if text not in vocabulary.units and text not in vocabulary.pieces)
    no_fillers = tuple(text for text in no_units if text not in vocabulary.fillers)
    return tuple(dict.fromkeys(name for name in (whole, no_units, no_fillers) if name))


@lru_cache(maxsize=64)
def vocabulary_words(words: tuple[str, ...]) -> frozenset[str]:
    """Return words in the form that tokens have."""
    return frozenset(singular(clean(word)) for word in words)
