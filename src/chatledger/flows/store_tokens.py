"""From what somebody wrote to tokens: words, numbers, dimensions such as `12mm`, and the signs between them.

Product names and clients' lists go through the same tokens, so that spelling (case, plural, `12 mm` for `12mm`) is no
difference between them. Any script will do; plurals are known of English words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

QUANTITY_DIGITS_MAX = 9
"""A longer number is nobody's quantity."""

_UNITS = {
    "mm": "mm",
    "cm": "cm",
    "m": "m mtr mtrs meter meters metre metres",
    "ft": "ft feet foot",
    "inch": "inch inches",
    "sqmm": "sqmm",
    "sqft": "sqft",
    "sqm": "sqm",
    "ml": "ml",
    "l": "l lt ltr ltrs litre litres liter liters",
    "g": "g gm gms gram grams",
    "kg": "kg kgs kilo kilos kilogram kilograms",
    "ton": "t ton tons tonne tonnes",
    "w": "w watt watts",
    "v": "v volt volts",
}
MEASURES = {written: unit for unit, ways in _UNITS.items() for written in ways.split()}
"""How a unit of measure is written, to the one way in which it is kept."""
MEASURE_UNITS = frozenset(_UNITS)


class Kind(Enum):
    """What a token is. A MEASURE is a number with its unit; TIMES is the x of `x 100`; a SKU is a product's own."""

    WORD = "word"
    NUMBER = "number"
    MEASURE = "measure"
    TIMES = "times"
    SEPARATOR = "separator"
    SKU = "sku"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the normal form. `value` is a number's, None where it is no whole number; `unit` a measure's."""

    kind: Kind
    text: str
    value: int | None = None
    unit: str | None = None


def _mark_ranges() -> str:
    """Return the combining marks as a character class: in many scripts they are letters, and `\\w` lacks them."""
    marks = [code for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M"]
    starts = [code for code in marks if unicodedata.category(chr(code - 1))[0] != "M"]
    ends = [code for code in marks if unicodedata.category(chr(code + 1))[0] != "M"]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


_LETTER = rf"(?:[^\W\d_]|[{_mark_ranges()}])"
_TIMES = "x×х*✕✖"
_DECIMAL = r"\d+(?:[.,⁄]\d+)?"
_TOKEN = re.compile(
    rf"""
      (?P<grid>{_DECIMAL}(?:[x×х*]{_DECIMAL})+)(?!\w)
    | (?P<number>\d{{1,3}}(?:,\d{{2,3}})*,\d{{3}}(?!\d)|\d+(?:[.,⁄]\d+)*)
      (?:\s*(?P<unit>sq\.?\s*(?:mm|ft|m)|{"|".join(sorted(MEASURES, key=len, reverse=True))}|["″])(?!{_LETTER}|\d))?
    | (?P<times>[{_TIMES}](?!{_LETTER}))
    | (?P<word>{_LETTER}(?:{_LETTER}|\d)*)
    | (?P<separator>[-–—:=()>])
    """,
    re.VERBOSE,
)
_DROPPED = re.compile(r"\d\ufe0f?\u20e3|[\ufe00-\ufe0f\u200b-\u200f\u2060\ufeff'’`´]")
"""Keycap emoji, invisible characters, and apostrophes."""
_PLURAL_ES = re.compile(r"(?:s|x|z|ch|sh)es$")


def clean(text: str) -> str:
    """Return `text` in one case and one way of writing each character."""
    return unicodedata.normalize("NFKC", _DROPPED.sub("", text)).casefold()


def tokens_of(cleaned: str) -> list[Token]:
    """Split cleaned text into tokens; what is neither word, number nor sign is passed over."""
    return [_token(found) for found in _TOKEN.finditer(cleaned)]


def name_tokens(name: str) -> tuple[str, ...]:
    """Return the normal form of a product's name: its tokens, without signs."""
    return names_only(tokens_of(clean(name)))


def names_only(tokens: list[Token]) -> tuple[str, ...]:
    """Return the texts of the tokens that are a part of a name."""
    return tuple(token.text for token in tokens if token.kind not in (Kind.TIMES, Kind.SEPARATOR))


def unit_of(text: str) -> str:
    """Return the normal form of a unit: `Bags` is `bag`, `metres` is `m`."""
    word = clean(text).strip(" .")
    return MEASURES.get(word) or singular(word)


def singular(word: str) -> str:
    """Return an English word without its plural ending, and any other word as it is."""
    if len(word) <= 3 or not word.isascii() or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if _PLURAL_ES.search(word) else word[:-1]


def has_digit(text: str) -> bool:
    """Whether a part of a name has a number in it, and so must be the same in both names, not only alike."""
    return any(character.isdigit() for character in text)


def _token(found: re.Match[str]) -> Token:
    if grid := found["grid"]:
        return Token(Kind.WORD, re.sub(rf"[{_TIMES}]", "x", grid))
    if number := found["number"]:
        return _number(number, found["unit"])
    if word := found["word"]:
        return Token(Kind.WORD, singular(word))
    return Token(Kind.TIMES, "x") if found["times"] else Token(Kind.SEPARATOR, "-")


def _number(written: str, unit: str | None) -> Token:
    digits = written.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{2,3})*,\d{3}", written) else written
    value = int(digits) if digits.isdecimal() and len(digits) <= QUANTITY_DIGITS_MAX else None
    text = digits.replace(",", ".") if value is None else str(value)
    if unit is None:
        return Token(Kind.NUMBER, text, value)
    plain = re.sub(r"[.\s]", "", unit)
    measure = "inch" if plain in '"″' else MEASURES[plain]
    return Token(Kind.MEASURE, f"{text}{measure}", value, measure)
