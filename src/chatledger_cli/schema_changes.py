"""Compares two JSON Schemas of one event version: which changes would break recorded events, or who reads them.

It knows the part of JSON Schema that is generated from event classes: objects, arrays, `anyOf`, `$ref` into
`$defs`, formats, enumerations and bounds. Words, titles and new optional fields are free to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
FIXED = ("format", "pattern", "const")
"""What may not appear or change: each says what values there can be."""


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return, one phrase each, what is in `old` that `new` no longer allows or offers; empty when all is."""
    return list(_changes(old, new, old, new, "value"))


def _changes(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if "anyOf" in old or "anyOf" in new:
        for choice in old.get("anyOf", [old]):
            wanted = _resolved(choice, old_root)
            offers = new.get("anyOf", [new])
            if not any(not list(_changes(wanted, offer, old_root, new_root, path)) for offer in offers):
                yield f"{path} may no longer be {wanted.get('type', 'what it was')}"
        return
    if not _types(old) <= _types(new):
        yield f"{path} changed its type from {old.get('type', 'any')} to {new.get('type', 'any')}"
        return
    yield from _narrowed(old, new, path)
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _changes(old["items"], new["items"], old_root, new_root, f"{path}[]")
    if isinstance(new.get("additionalProperties"), dict) and isinstance(old.get("additionalProperties"), dict):
        additional = old["additionalProperties"], new["additionalProperties"]
        yield from _changes(*additional, old_root, new_root, f"{path}.*")
    elif new.get("additionalProperties", True) is not True and new["additionalProperties"] != old.get(
        "additionalProperties"
    ):
        yield f"{path} takes fewer further fields"
    yield from _field_changes(old, new, old_root, new_root, path)


def _field_changes(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    for name, field in old_fields.items():
        if name not in new_fields:
            yield f"{path}.{name} was removed"
        else:
            yield from _changes(field, new_fields[name], old_root, new_root, f"{path}.{name}")
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{path}.{name} was made required"


def _narrowed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for key in FIXED:
        if key in new and new[key] != old.get(key):
            yield f"{path} now has {key} {new[key]!r}"
        elif key in old and key not in new:
            yield f"{path} lost its {key} {old[key]!r}"
    if "enum" in new and not set(map(str, old.get("enum", [...]))) <= set(map(str, new["enum"])):
        yield f"{path} allows fewer values"
    for key in LOWER_BOUNDS:
        if key in new and (key not in old or new[key] > old[key]):
            yield f"{path} has a tighter {key}"
    for key in UPPER_BOUNDS:
        if key in new and (key not in old or new[key] < old[key]):
            yield f"{path} has a tighter {key}"


def _types(schema: Schema) -> frozenset[str]:
    """The JSON types that a schema allows; every number that is an integer is a number too."""
    said = schema.get("type", ["any"])
    types = frozenset([said] if isinstance(said, str) else said)
    if "any" in types:
        return _ALL_TYPES
    return types | {"integer"} if "number" in types else types


_ALL_TYPES = frozenset({"any", "array", "boolean", "integer", "null", "number", "object", "string"})


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    resolved: Any = root
    for part in str(reference).removeprefix("#/").split("/"):
        resolved = resolved[part]
    return dict(resolved) | {key: value for key, value in schema.items() if key != "$ref"}
