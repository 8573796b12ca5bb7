"""Which of a project's languages a client writes, told by the script of the first message.

A script can stand for several languages; the first of the project's that is written in it is taken, and the
project's first language where none is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

CYRILLIC_LANGUAGES = frozenset({"be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk"})


def guess_language(text: str, languages: Sequence[str]) -> str:
    """Return the one of `languages` that `text` is most likely written in."""
    letters = [character for character in text[:200] if character.isalpha()]
    if not letters:
        return languages[0]
    cyrillic = sum(1 for letter in letters if unicodedata.name(letter, "").startswith("CYRILLIC"))
    written_in_cyrillic = cyrillic * 2 > len(letters)
    fitting = [name for name in languages if (name in CYRILLIC_LANGUAGES) is written_in_cyrillic]
    return fitting[0] if fitting else languages[0]
