"""The order form's answers: each function takes what the client wrote and accepts it, or says why not."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

import phonenumbers

ADDRESS_LENGTH_MIN = 5
ADDRESS_LENGTH_MAX = 200
PHONE_TEXT_LENGTH_MAX = 64
"""Longer than any phone number that people write; phonenumbers would search a whole novel."""

_QUANTITY = re.compile(r"(?:[xх×]\s*)?(\d{1,9})\s*([^\W\d_]+)?\.?", re.IGNORECASE)
"""`3`, `x3` (Latin or Cyrillic), `3 pcs`. The word behind is checked against the project's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why an answer was not accepted; `rejected_<reason>` is the text that says so."""

    reason: str


def accept_address(text: str) -> str | Rejected:
    """Accept 5 to 200 characters with at least one letter."""
    address = " ".join(text.split())
    if not ADDRESS_LENGTH_MIN <= len(address) <= ADDRESS_LENGTH_MAX:
        return Rejected(reason="address_length")
    if not any(character.isalpha() for character in address):
        return Rejected(reason="address_no_letters")
    return address


def accept_phone(text: str, region: str) -> str | Rejected:
    """Accept a valid phone number, national in `region` or international; return it in E.164."""
    if len(text) > PHONE_TEXT_LENGTH_MAX:
        return Rejected(reason="phone_invalid")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return Rejected(reason="phone_invalid")
    if not phonenumbers.is_valid_number(number):
        return Rejected(reason="phone_invalid")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def accept_quantity(text: str, pieces: Set[str], quantity_max: int) -> int | Rejected:
    """Accept a whole number from 1 to `quantity_max`, also as `x3` or with one of the words `pieces` behind it."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or (found[2] and found[2].casefold() not in pieces):
        return Rejected(reason="quantity_range")
    quantity = int(found[1])
    return quantity if 1 <= quantity <= quantity_max else Rejected(reason="quantity_range")
