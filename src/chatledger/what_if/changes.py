"""What differs between the events that were recorded because of an input and those that would be decided now. Pure.

Only types and data count: ids and versions follow from them. Equal events are found first, then those of one type are
put side by side, and what is left on one side was added or removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from chatledger.events.base import Event, UnknownEvent, personal_fields
from chatledger.events.codec import encode_data, type_and_version
from chatledger.events.dialog import ReplyRequested

CLIENT_ID = "client_id"
"""Not marked as personal, because it is a part of every key; it is hidden from readers all the same, as logs do."""


class Kind(StrEnum):
    """What a change is called."""

    TEXT = "reply text changed"
    DATA = "event data changed"
    ADDED = "event added"
    REMOVED = "event removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field that differs, by its path in the event (`lines[0].quantity`). None on a side: it is not there."""

    path: str
    recorded: Any
    decided: Any
    personal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event that differs. The places are in the recorded and in the decided events; None where there is none."""

    kind: Kind
    type: str
    recorded_place: int | None = None
    decided_place: int | None = None
    fields: tuple[FieldChange, ...] = ()


def changes(recorded: Sequence[Event], decided: Sequence[Event]) -> tuple[Change, ...]:
    """Return what differs, in the order of the events; nothing where both are alike."""
    found: list[Change] = []
    matcher = SequenceMatcher(None, [_token(each) for each in recorded], [_token(each) for each in decided], False)
    for what, first, last, decided_first, decided_last in matcher.get_opcodes():
        if what != "equal":
            found += _in_stretch(recorded, decided, range(first, last), range(decided_first, decided_last))
    return tuple(found)


def _in_stretch(recorded: Sequence[Event], decided: Sequence[Event], old: range, new: range) -> Iterator[Change]:
    """Compare a stretch without equal events, by types."""
    types = [_type(recorded[place]) for place in old], [_type(decided[place]) for place in new]
    matcher = SequenceMatcher(None, *types, False)
    for what, first, last, decided_first, decided_last in matcher.get_opcodes():
        if what == "equal":
            for place, decided_place in zip(old[first:last], new[decided_first:decided_last], strict=True):
                yield _changed(recorded[place], decided[decided_place], place, decided_place)
            continue
        for place in old[first:last]:
            yield Change(kind=Kind.REMOVED, type=_type(recorded[place]), recorded_place=place)
        for place in new[decided_first:decided_last]:
            yield Change(kind=Kind.ADDED, type=_type(decided[place]), decided_place=place)


def _changed(recorded: Event, decided: Event, place: int, decided_place: int) -> Change:
    differing = tuple(_differing("", recorded, decided, isinstance(recorded, UnknownEvent)))
    is_text = isinstance(recorded, ReplyRequested) and any(each.path == "text" for each in differing)
    return Change(
        kind=Kind.TEXT if is_text else Kind.DATA,
        type=_type(recorded),
        recorded_place=place,
        decided_place=decided_place,
        fields=differing,
    )


def _differing(path: str, recorded: Any, decided: Any, personal: bool) -> Iterator[FieldChange]:
    """Yield the smallest parts that differ. What is personal is one part: its own parts would tell of it."""
    if recorded == decided:
        return
    pairs = () if personal else _parts(recorded, decided)
    if not pairs:
        yield FieldChange(path=path, recorded=recorded, decided=decided, personal=personal)
    for name, old, new, hidden in pairs:
        yield from _differing(f"{path}{name}".removeprefix("."), old, new, hidden)


def _parts(recorded: Any, decided: Any) -> list[tuple[str, Any, Any, bool]]:
    """Pair the parts of two values of one form, each with its name and whether it is personal."""
    if is_dataclass(recorded) and type(recorded) is type(decided):
        hidden = {*personal_fields(type(recorded)), CLIENT_ID}
        return [
            (f".{each.name}", getattr(recorded, each.name), getattr(decided, each.name), each.name in hidden)
            for each in fields(recorded)
        ]
    if isinstance(recorded, list | tuple) and isinstance(decided, list | tuple):
        return [
            (f"[{place}]", _at(recorded, place), _at(decided, place), False)
            for place in range(max(len(recorded), len(decided)))
        ]
    if isinstance(recorded, Mapping) and isinstance(decided, Mapping):
        names = dict.fromkeys([*recorded, *decided])
        return [(f".{name}", recorded.get(name), decided.get(name), False) for name in names]
    return []


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


def _type(event: Event) -> str:
    return type_and_version(event)[0]


def _token(event: Event) -> tuple[str, bytes]:
    return _type(event), encode_data(event)
