"""An event without its client: personal data left out, names and ids replaced by pseudonyms.

What comes out is an event of the same class, so that all that is made of events (tables, folds, files) is made of
anonymised ones alike, and nothing further down has to be careful. A field is kept only for a reason:

* personal data, by the mark in the event's class, are left out; a phone number becomes its pseudonym;
* client ids, providers' message ids, references and tags become pseudonyms; UUIDs become other UUIDs;
* what the project's own files say (products, prices, texts of discounts) stays, and so do numbers, times and words of
  the vocabulary: one word, with few digits; any other text may be somebody's, and is left out;
* of an event that this code does not know nothing is kept but that it happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime
from typing import Any, TypeVar

from chatledger.events.base import Event, UnknownEvent, personal_fields
from chatledger.events.envelope import Envelope
from chatledger.history.pseudonyms import UUID, Pseudonyms
from chatledger.history.rows import NOT_CLIENTS
from chatledger.ports import LedgerEvent

LEFT_OUT = "***"

PSEUDONYMS = frozenset({"client_id", "phone", "provider_message_id", "reference", "tags"})
"""Fields that name a client, or something that may have the client's name or number in it, as ids of WhatsApp messages
do. They still tell who and what belongs together."""
KEPT = frozenset(
    {"code", "content_sid", "credit_note", "currency", "name", "number", "project", "sku", "skus", "topic", "unit"}
)
"""Fields that hold the project's own words and numbers, whatever they look like. `name` is a product's or a discount's:
a client's is marked as personal, and a campaign's goes by its class."""
FREE_TEXT = frozenset({"message", "reply_to", "content_variables"})
"""Fields that may hold anything, and of which nothing is needed to understand what happened."""

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}|HTTP [0-9]{3}")
_SOURCE = re.compile(r"(/[a-z_-]{1,32}){1,3}")
_WORD_DIGITS_MAX = 6
"""A phone number has more."""

Change = Callable[[Any], Any]
AnEvent = TypeVar("AnEvent", bound=Event)


class Anonymiser:
    """Anonymises events under one set of pseudonyms, so that what belonged together still does."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._changes: dict[type, Mapping[str, Change]] = {}

    def event(self, event: LedgerEvent) -> LedgerEvent:
        """The recorded event without its client; where and when it was recorded stays."""
        return replace(event, envelope=self.envelope(event.envelope), topic=self.word(event.topic))

    def envelope(self, envelope: Envelope) -> Envelope:
        """The envelope without its client. The trace context, which comes from outside, is left out."""
        conversation = self.conversation(envelope.conversation)
        return Envelope(
            id=self._id(envelope.id),
            source=envelope.source if _SOURCE.fullmatch(envelope.source) else LEFT_OUT,
            conversation=conversation,
            time=envelope.time,
            stream=self._stream(envelope.stream, envelope.conversation, conversation),
            stream_version=envelope.stream_version,
            correlation_id=self._id(envelope.correlation_id),
            causation_id=None if envelope.causation_id is None else self._id(envelope.causation_id),
            traceparent=None,
            data=self.data(envelope.data),
        )

    def data(self, event: AnEvent) -> AnEvent:
        """The event's own fields without its client."""
        if isinstance(event, UnknownEvent):
            return replace(event, type_name=self.word(event.type_name), data={})
        changed: AnEvent = self._holder(event)
        return changed

    def conversation(self, conversation: str) -> str:
        """The conversation id with the client's pseudonym in it; a campaign's or a product's key stays readable."""
        project, _, rest = conversation.partition("/")
        channel, _, client = rest.partition("/")
        if not client:
            return self._pseudonyms.of(conversation)
        last = self._name(client) if channel in NOT_CLIENTS else self._pseudonyms.of(client)
        return f"{self._name(project)}/{self._name(channel)}/{last}"

    def word(self, text: str) -> str:
        """The text where it is a word of the vocabulary or an id, which becomes another one; else nothing of it."""
        rest = UUID.sub("", text)
        known = not rest or (_WORD.fullmatch(rest) and sum(map(str.isdigit, rest)) <= _WORD_DIGITS_MAX)
        return self._pseudonyms.of_ids_in(text) if known else LEFT_OUT

    def _name(self, text: str) -> str:
        """The same for what has to stay apart from other names, even where it cannot be shown."""
        word = self.word(text)
        return self._pseudonyms.of(text) if word == LEFT_OUT else word

    def _id(self, text: str) -> str:
        return self._pseudonyms.of_ids_in(text) if UUID.fullmatch(text) else self._pseudonyms.of(text)

    def _stream(self, stream: str, conversation: str, instead: str) -> str:
        kind = stream.removesuffix(conversation)
        return self._name(stream) if kind == stream else self._name(kind) + instead

    def _holder(self, holder: Any) -> Any:
        changes = self._changes.get(type(holder))
        if changes is None:
            changes = self._changes[type(holder)] = self._plan(type(holder))
        changed = {name: change(getattr(holder, name)) for name, change in changes.items()}
        return replace(holder, **changed)

    def _plan(self, holder: type) -> Mapping[str, Change]:
        """What is done to each field of an event class, or of a class inside one."""
        personal = personal_fields(holder)
        plan: dict[str, Change] = {}
        for each in fields(holder):
            if each.name == "order_number":
                plan[each.name] = self._order_number
            elif each.name in PSEUDONYMS:
                plan[each.name] = self._pseudonym
            elif each.name in personal or each.name in FREE_TEXT:
                plan[each.name] = _left_out
            elif each.name not in KEPT or (holder.__name__ == "CampaignCreated" and each.name == "name"):
                plan[each.name] = self._value
        return plan

    def _order_number(self, value: str | None) -> str | None:
        return None if value is None else self._pseudonyms.of_order_number(value)

    def _pseudonym(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._pseudonyms.of, value))
        return None if value is None else self._pseudonyms.of(value)

    def _value(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float() | datetime() | date():
                return value
            case str():
                return self.word(value)
            case tuple():
                return tuple(map(self._value, value))
            case _ if is_dataclass(value):
                return self._holder(value)
        return _left_out(value)


def _left_out(value: Any) -> Any:
    """Nothing of a value, in a form that its field can hold."""
    match value:
        case None:
            return None
        case str():
            return LEFT_OUT
        case dict():
            return {}
        case tuple():
            return ()
    raise TypeError(f"a field of an event holds {type(value).__name__}")
