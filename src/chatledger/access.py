"""Who may use the HTTP API: keys, kept as hashes, each with a scope and, if it is so limited, one project. Pure.

A key is `clk_` and 43 characters of chance. It has more entropy than anybody can guess, so a plain SHA-256 of it is
enough to find it by and tells nobody what it is.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum

KEY_PREFIX = "clk_"
CHANCE_BYTES = 32
"""How much chance a key is made of."""
PREFIX_LENGTH = len(KEY_PREFIX) + 8
"""How much of a key is shown in lists: enough to tell it from others, and far from enough to guess the rest."""


class Scope(IntEnum):
    """What a key allows; each scope has those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a key stands for. `project` None: every project's."""

    name: str
    scope: Scope
    project: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether this key allows what needs `scope`."""
        return self.scope >= scope

    def sees(self, project: str | None) -> bool:
        """Whether this key is for what belongs to `project`; None: for what belongs to all of them."""
        return self.project is None or self.project == project


def new_key(chance: bytes) -> str:
    """Return the key that is made of `CHANCE_BYTES` of chance. Raises ValueError for any other number."""
    if len(chance) != CHANCE_BYTES:
        raise ValueError(f"a key is made of {CHANCE_BYTES} bytes of chance, not {len(chance)}")
    return KEY_PREFIX + base64.urlsafe_b64encode(chance).rstrip(b"=").decode()


def shown_prefix(key: str) -> str:
    """Return the part of a key that may be shown."""
    return key[:PREFIX_LENGTH]


def key_hash(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()
