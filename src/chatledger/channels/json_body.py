"""Reading a JSON body from a stranger: what can be stored is kept, what can't be meant is refused by name."""

from __future__ import annotations

from typing import Any

import orjson

from chatledger.errors import MalformedBody

DEPTH_MAX = 32
"""No provider nests deeper; a stranger's thousand brackets would only cost stack."""


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. NUL characters, which Postgres cannot store, become U+FFFD.

    Raises MalformedBody when it is not UTF-8, not JSON, not an object, or nested beyond reason.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise MalformedBody(f"body: is not JSON: {wrong}") from wrong
    if not isinstance(value, dict):
        raise MalformedBody("body: must be a JSON object")
    if b"\\u0000" in body or _depth_exceeds(body):
        return {_clean(str(key), 0): _clean(item, 1) for key, item in value.items()}
    return value


def _depth_exceeds(body: bytes) -> bool:
    """A cheap upper bound: only a body with more brackets than that can be nested so deep."""
    return body.count(b"[") + body.count(b"{") > DEPTH_MAX


def _clean(value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise MalformedBody(f"body: is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(str(key), depth): _clean(item, depth + 1) for key, item in value.items()}
    return value
