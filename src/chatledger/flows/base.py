"""What every flow is: a pure decision, and the texts and words that its projects must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chatledger.conversation import Conversation
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.projects import Project

Decide = Callable[[Conversation, Envelope, Project], list[Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """`decide` takes the state, one input and the project, and returns what happened because of it.

    `texts` maps each text's key to the variables that it may use; `words` names what clients can say as a command
    or an answer. A project file is checked against both.
    """

    name: str
    decide: Decide
    texts: Mapping[str, frozenset[str]]
    words: tuple[str, ...]
    sections: tuple[str, ...] = ()
    react: Mapping[type[Event], Decide] = field(default_factory=dict)
