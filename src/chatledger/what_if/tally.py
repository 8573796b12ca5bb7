"""What all comparisons come to: figures for each conversation and for all, and which ones are good examples. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from chatledger.ports import LedgerEvent
from chatledger.what_if.changes import Kind
from chatledger.what_if.comparing import Compared, Failure

FAILED = "flow failed"
"""What it is called that the flow came to no decision, beside the kinds of change."""

KindOfType = tuple[str, str]
"""A kind of change, and the type of the event, or, where the flow failed, the error and its place."""


@dataclass(slots=True, kw_only=True)
class ConversationTally:
    """One conversation's figures. `first` is the input whose decision differs first, None where none does."""

    decisions: int = 0
    differing: int = 0
    failed: int = 0
    first: LedgerEvent | None = None
    kinds: Counter[KindOfType] = field(default_factory=Counter)


class Tally:
    """Counts what it is told, in any order of conversations."""

    def __init__(self) -> None:
        self.conversations: dict[str, ConversationTally] = {}
        self.kinds: Counter[KindOfType] = Counter()
        self.decisions = 0
        self.decisions_differ = 0
        self.decisions_failed = 0

    def note(self, compared: Compared) -> None:
        """Count one input."""
        conversation = compared.cause.envelope.conversation
        tally = self.conversations.setdefault(conversation, ConversationTally())
        tally.decisions += 1
        self.decisions += 1
        if not compared.differs:
            return
        tally.differing += 1
        self.decisions_differ += 1
        if tally.first is None or compared.cause.position < tally.first.position:
            tally.first = compared.cause
        if compared.failure is not None:
            tally.failed += 1
            self.decisions_failed += 1
        kinds = [*_kinds(compared)]
        tally.kinds.update(kinds)
        self.kinds.update(kinds)

    def differing(self) -> list[str]:
        """The conversations that differ, by their first decision that does."""
        found = [(each.first.position, name) for name, each in self.conversations.items() if each.first is not None]
        return [name for _, name in sorted(found)]

    def examples(self, limit: int) -> list[str]:
        """Up to `limit` conversations that differ: of each set of kinds of change one, then the next of each.

        So what happens seldom is not hidden behind what happens everywhere.
        """
        alike: dict[frozenset[KindOfType], list[str]] = {}
        for name in self.differing():
            alike.setdefault(frozenset(self.conversations[name].kinds), []).append(name)
        rounds: Sequence[tuple[str | None, ...]] = list(zip_longest(*alike.values()))
        return [name for name in chain.from_iterable(rounds) if name is not None][:limit]


def place_of(failure: Failure) -> str:
    """Return a failure's error and place: they hold no personal data."""
    return f"{failure.error} at {failure.place}"


def _kinds(compared: Compared) -> list[KindOfType]:
    if compared.failure is not None:
        return [(FAILED, place_of(compared.failure))]
    return [(Kind(change.kind).value, change.type) for change in compared.changes]
