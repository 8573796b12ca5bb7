"""Hypothesis strategies for every event class, from its own annotations, and for envelopes."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic import AwareDatetime

from chatledger.conversation import FIRST_STATUS, QUESTIONS
from chatledger.events import EVENTS, Envelope, Event, cart, dialog
from chatledger.events.codec import COUNT_MAX

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
whole_numbers = st.integers(-(2**70), 2**70)
seconds = st.floats(86_400.0, 32_503_000_000.0)
utc_times = seconds.map(lambda second: datetime.fromtimestamp(second, UTC))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.builds(datetime.fromtimestamp, seconds, offsets)
json_values = st.recursive(
    st.none() | st.booleans() | whole_numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    date: st.dates(date(1970, 1, 2), date(2999, 12, 30)),
    datetime: times,
    AwareDatetime: times,
    Any: json_values,
    types.NoneType: st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return values of one annotation that occurs in event classes."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return values_of(arguments[0])
    if origin in (types.UnionType, Union):
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    if is_dataclass(hint):
        return events_of(hint)
    raise TypeError(f"no strategy for {hint}: add one here")


def events_of(event_class: Any) -> st.SearchStrategy[Any]:
    """Return arbitrary instances of one event class, or of a class inside one."""
    hints = get_type_hints(event_class, include_extras=True)
    return st.builds(event_class, **{each.name: values_of(hints[each.name]) for each in fields(event_class)})


all_events: st.SearchStrategy[Event] = st.sampled_from(EVENTS).flatmap(events_of)

started: st.SearchStrategy[Event] = st.builds(
    dialog.ConversationStarted, flow=st.sampled_from(sorted(FIRST_STATUS)) | texts, language=texts
)
_MEANT: dict[type[Event], st.SearchStrategy[Event]] = {
    dialog.AnswerWithdrawn: st.builds(dialog.AnswerWithdrawn, question=st.sampled_from(sorted(QUESTIONS))),
    dialog.ConversationStarted: started,
}
dialog_events: st.SearchStrategy[Event] = st.sampled_from((*dialog.EVENTS, *cart.EVENTS)).flatmap(
    lambda event_class: _MEANT[event_class] if event_class in _MEANT else events_of(event_class)
)
"""Events of a conversation's stream, with what only the flows themselves can say said as they do."""


def envelopes(events: st.SearchStrategy[Event] = all_events) -> st.SearchStrategy[Envelope]:
    """Return envelopes around `events`, with every part arbitrary."""
    return st.builds(
        Envelope,
        id=texts,
        source=texts,
        conversation=texts,
        time=times,
        stream=texts,
        stream_version=st.none() | st.integers(1, COUNT_MAX),
        correlation_id=texts,
        causation_id=st.none() | texts,
        traceparent=st.none() | texts,
        data=events,
    )
