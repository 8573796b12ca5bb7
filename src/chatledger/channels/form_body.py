"""Reading a form (application/x-www-form-urlencoded) from a stranger."""

from __future__ import annotations

from urllib.parse import parse_qsl

from chatledger.errors import MalformedBody

FIELDS_MAX = 500
"""A message with ten pictures has some fifty; beyond reason a form only costs time."""


def form_fields(body: bytes) -> dict[str, list[str]]:
    """Return the values of each name, in their order. Raises MalformedBody when it is no such form, or too large a one.

    A name without "=" is refused: where names and values are signed without what parts them, `Tohe` could be taken
    for `To=he`.
    """
    try:
        text = body.decode()
        pairs = (
            parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=FIELDS_MAX)
            if text
            else []
        )
    except UnicodeDecodeError as wrong:
        raise MalformedBody("body: is not UTF-8") from wrong
    except ValueError as wrong:
        raise MalformedBody(f"body: must be name=value pairs joined by &, at most {FIELDS_MAX}") from wrong
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def storable(fields: dict[str, list[str]]) -> dict[str, str | list[str]]:
    """Return the fields as a document: a name's only value as it is. NUL, which Postgres cannot store, is U+FFFD."""
    return {
        name.replace("\x00", "\ufffd"): values[0] if len(values) == 1 else values
        for name, values in (
            (name, [value.replace("\x00", "\ufffd") for value in each]) for name, each in fields.items()
        )
    }
