"""Pseudonyms: the same for the same text under one key, and without the key of no use to find the text.

Ids are replaced too, although they say nothing by themselves: ours are derived from client ids and the like by a rule
that everybody can read, so that whoever tries all phone numbers would find whose they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from functools import lru_cache

from chatledger.errors import ConfigurationError
from chatledger.events.ids import ORDER_NUMBER_ALPHABET

KEY_BYTES_MIN = 16
"""Shorter secrets can be guessed."""
PREFIX = "anon-"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

REMEMBERED = 50_000

_PHONE = re.compile(r"\+?[\d\s().-]+")
_PHONE_DIGITS_MIN = 7
_PSEUDONYM_BYTES = 10
"""80 bits: no two of a billion clients share one."""


class Pseudonyms:
    """Keyed pseudonyms. Whoever has the key can find out whose a pseudonym is by trying: keep it, or throw it away."""

    def __init__(self, key: bytes | None = None) -> None:
        """Without a `key` a random one is made, which nobody ever learns. Raises ConfigurationError for a short one."""
        if key is not None and len(key) < KEY_BYTES_MIN:
            raise ConfigurationError(
                f"the key of the pseudonyms has {len(key)} bytes: it needs {KEY_BYTES_MIN} or more, such as"
                " `head -c 32 /dev/urandom` gives"
            )
        self._key = hashlib.sha256(key).digest() if key is not None else secrets.token_bytes(32)
        # Ids come several times within a few events: as the event's own, as a cause, in a stream.
        self._uuid = lru_cache(REMEMBERED)(self._make_uuid)

    def of(self, text: str) -> str:
        """The pseudonym of a client's id, a phone number or whatever else names somebody.

        A phone number has one pseudonym, however it is written: `+91 98765 43210` and `919876543210` are the same.
        """
        if _PHONE.fullmatch(text):
            digits = re.sub(r"\D", "", text)
            text = digits if len(digits) >= _PHONE_DIGITS_MIN else text
        return PREFIX + base64.b32encode(self._digest("name", text, _PSEUDONYM_BYTES)).decode().lower()

    def of_ids_in(self, text: str) -> str:
        """The text with every UUID in it replaced by another one."""
        return UUID.sub(lambda found: self._uuid(found[0].lower()), text)

    def of_order_number(self, number: str) -> str:
        """Another order number of the same form."""
        bits = int.from_bytes(self._digest("number", number, 5))
        digits = "".join(ORDER_NUMBER_ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))
        return f"{digits[:4]}-{digits[4:]}"

    def _make_uuid(self, text: str) -> str:
        digest = bytearray(self._digest("uuid", text, 16))
        # Version 8: a UUID made by a rule of one's own.
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        made = digest.hex()
        return f"{made[:8]}-{made[8:12]}-{made[12:16]}-{made[16:20]}-{made[20:]}"

    def _digest(self, kind: str, text: str, size: int) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=size, key=self._key, person=kind.encode()).digest()
