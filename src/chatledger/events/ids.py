"""Derived ids: the same cause gives the same id, so that doing a thing twice shows as doing it once.

An id is a version 5 UUID (RFC 9562, section 5.5: SHA-1 of a namespace and a name), kept as its text. It is computed
from the hash directly because it stands on the hot path: `uuid.uuid5` builds an object that is then turned into text.
"""

from __future__ import annotations

import hashlib

NAMESPACE = bytes.fromhex("6f1f0f5ed3c14a3c9d0b6c0a7f3f2a11")
"""The namespace of all chatledger ids. It must never change: every id in every ledger comes from it."""

ORDER_NUMBER_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, so that a number read aloud comes back right."""


def derive_id(*parts: str | int) -> str:
    """Return the version 5 UUID of `parts`, as text.

    The parts are joined with their lengths, so that ("ab", "c") and ("a", "bc") differ.
    """
    name = "".join(f"{len(text)}:{text}" for text in map(str, parts))
    digest = bytearray(hashlib.sha1(NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def order_number(order_id: str) -> str:
    """Return the short number that a client reads for an order, e.g. `7QK2-M0XF` (40 bits of the id)."""
    bits = int(order_id.replace("-", "")[:10], 16)
    digits = "".join(ORDER_NUMBER_ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))
    return f"{digits[:4]}-{digits[4:]}"
