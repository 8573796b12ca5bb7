"""What differs between two states, and which event changed what. Pure.

A field of a field is written with a dot, an element of a list with its number from 0: `lines[1].quantity`. A list of
plain values counts as one value. What is not there compares as null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chatledger.ports import LedgerEvent
from chatledger_ledger.kinds import Fold, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field, and what it was and became."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event that changed something: the event, and the fields that it changed."""

    event: LedgerEvent
    fields: tuple[str, ...]


def changes(before: Shown | None, after: Shown | None) -> list[Change]:
    """Return the fields in which two states differ, in the order in which the states have them."""
    return list(_of_objects("", before or {}, after or {}))


def steps(fold: Fold, events: Iterable[LedgerEvent]) -> list[Step]:
    """Fold further events, and return those that changed the state and the fields that each of them changed."""
    made = []
    known = fold.shown()
    for event in events:
        fold.add(event.envelope)
        following = fold.shown()
        if fields := tuple(each.field for each in changes(known, following)):
            made.append(Step(event=event, fields=fields))
        known = following
    return made


def _of_values(field: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(f"{field}.", before, after)
    elif _is_list_of_parts(before, after):
        for index in range(max(len(before), len(after))):
            yield from _of_values(f"{field}[{index}]", _element(before, index), _element(after, index))
    else:
        yield Change(field=field, before=before, after=after)


def _of_objects(prefix: str, before: Shown, after: Shown) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        yield from _of_values(prefix + name, before.get(name), after.get(name))


def _is_list_of_parts(before: Any, after: Any) -> bool:
    both = isinstance(before, list) and isinstance(after, list)
    return both and all(isinstance(part, dict) for part in (*before, *after))


def _element(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None
