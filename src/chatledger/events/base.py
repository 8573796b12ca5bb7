"""What an event is: one frozen, slotted class per fact, with its type name and schema version.

A field that holds personal data is annotated with one of the `Personal...` types: logs mask it, its
JSON Schema says `x-personal`, exports can leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import Field


class PersonalMark:
    """Marks a field, through `Annotated`, as personal data."""


PersonalText = Annotated[str, PersonalMark(), Field(json_schema_extra={"x-personal": True})]
PersonalHeaders = Annotated[dict[str, str], PersonalMark(), Field(json_schema_extra={"x-personal": True})]
PersonalVariables = Annotated[dict[str, str], PersonalMark(), Field(json_schema_extra={"x-personal": True})]
PersonalDocument = Annotated[dict[str, Any], PersonalMark(), Field(json_schema_extra={"x-personal": True})]


Integer = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""What 64 bits hold: larger ones fit into no database column, so a record that has one is not readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact in the past tense. Subclasses say their `type` on the wire and their schema `version`."""

    type: ClassVar[str]
    version: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event of a type or version that this code does not know: kept, shown, skipped by folds."""

    type: ClassVar[str] = "unknown"

    type_name: str
    schema_version: int
    data: PersonalDocument


def personal_fields(holder: type) -> frozenset[str]:
    """Names of the fields of `holder`, an event class or a class inside one, that are personal data themselves."""
    known = _PERSONAL_FIELDS.get(holder)
    if known is None:
        hints = get_type_hints(holder, include_extras=True)
        known = _PERSONAL_FIELDS[holder] = frozenset(
            field.name for field in fields(holder) if _is_personal(hints[field.name])
        )
    return known


def masked(value: Any, mask: str) -> Any:
    """Return `value`, an event or what is in one, as plain data with `mask` in place of all personal data."""
    if isinstance(value, tuple | list):
        return [masked(each, mask) for each in value]
    if not is_dataclass(value):
        return value
    hidden = personal_fields(type(value))
    return {
        each.name: mask if each.name in hidden else masked(getattr(value, each.name), mask) for each in fields(value)
    }


def _is_personal(hint: Any) -> bool:
    """Whether the mark is on `hint`, or on a part of it, as in `PersonalText | None`."""
    if get_origin(hint) is Annotated and any(isinstance(mark, PersonalMark) for mark in hint.__metadata__):
        return True
    return any(_is_personal(part) for part in get_args(hint))


_PERSONAL_FIELDS: dict[type, frozenset[str]] = {}
"""Type hints are slow to read, and never change."""
