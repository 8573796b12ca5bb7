"""What an event is: one frozen, slotted class per fact, with its type name and schema version.

A field that holds personal data is annotated with one of the `Personal...` types: logs mask it, its
JSON Schema says `x-personal`, exports can leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, get_type_hints

from pydantic import Field


class PersonalMark:
    """Marks a field, through `Annotated`, as personal data."""


PersonalText = Annotated[str, PersonalMark(), Field(json_schema_extra={"x-personal": True})]
PersonalHeaders = Annotated[dict[str, str], PersonalMark(), Field(json_schema_extra={"x-personal": True})]
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


def personal_fields(event_class: type[Event]) -> frozenset[str]:
    """Names of the fields of `event_class` that hold personal data."""
    known = _PERSONAL_FIELDS.get(event_class)
    if known is None:
        hints = get_type_hints(event_class, include_extras=True)
        known = _PERSONAL_FIELDS[event_class] = frozenset(
            field.name
            for field in fields(event_class)
            if any(isinstance(mark, PersonalMark) for mark in getattr(hints[field.name], "__metadata__", ()))
        )
    return known


_PERSONAL_FIELDS: dict[type[Event], frozenset[str]] = {}
"""Type hints are slow to read, and never change."""
