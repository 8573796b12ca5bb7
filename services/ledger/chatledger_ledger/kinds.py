"""The kinds of things that history can be asked about, and their fold, event by event. Pure.

What a kind is (how its events fold, how its state is written) is said by whoever owns it; this module only knows how to
use that. A client is made of several: all conversations with that client, and the orders and invoices named in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chatledger.events.envelope import Envelope

Shown = dict[str, Any]
"""A state as JSON has it: what is shown, compared and answered."""
CLIENT, CLIENTS = "client", "clients"
"""What is no kind of its own, but made of all kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One thing that an event names: the kind's name, and the id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of thing that has a stream of its own.

    `step` folds one event more (None: there is no state yet); `shown` writes a state as JSON has it. `unbegun` is what
    is shown before the first event. `names` tells which other things an event of this kind belongs to. `id_prefix`
    tells what an id begins with whose thing has this number, None where the number does not tell. `quiet` are fields
    that a person seldom wants.
    """

    name: str
    plural: str
    step: Callable[[Any, Envelope], Any]
    shown: Callable[[Any], Shown]
    unbegun: Shown | None = None
    names: Callable[[Envelope], Iterable[Reference]] = lambda _: ()
    id_prefix: Callable[[str], str | None] = lambda _: None
    quiet: frozenset[str] = frozenset()

    @property
    def prefix(self) -> str:
        """What the names of its streams begin with."""
        return f"{self.name}-"

    def stream(self, id: str) -> str:
        """Return the name of a thing's stream."""
        return self.prefix + id


class Fold(Protocol):
    """The state of one thing, or of a client, as its events come in the order of positions."""

    def add(self, envelope: Envelope) -> None:
        """Fold one event more."""
        ...

    def shown(self) -> Shown | None:
        """The state now; None where there is none yet. What was returned before is never changed."""
        ...


class StreamFold:
    """The fold of one stream."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._state: Any = None
        self._shown: Shown | None = kind.unbegun

    def add(self, envelope: Envelope) -> None:
        """Fold one event more."""
        state = self._kind.step(self._state, envelope)
        if state is not self._state:
            self._state, self._shown = state, self._kind.shown(state)

    def shown(self) -> Shown | None:
        """The state now."""
        return self._shown


class ClientFold:
    """The fold of everything that belongs to a client; an order is theirs from the event on that names it.

    The first of the kinds is the conversation: what all others are named in.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds
        self._folds: dict[str, dict[str, StreamFold]] = {kind.name: {} for kind in kinds}
        self._theirs: dict[str, set[str]] = {kind.name: set() for kind in kinds}

    def add(self, envelope: Envelope) -> None:
        """Fold one event more, of any of the streams."""
        kind = next(each for each in self._kinds if envelope.stream.startswith(each.prefix))
        found = envelope.stream.removeprefix(kind.prefix)
        if kind is self._kinds[0]:
            self._theirs[kind.name].add(found)
        self._folds[kind.name].setdefault(found, StreamFold(kind)).add(envelope)
        for named in kind.names(envelope):
            self._theirs[named.kind].add(named.id)

    def shown(self) -> Shown | None:
        """What is known of the client, by kind and id; None before the first event."""
        written = {
            kind.plural: {
                each: shown
                for each, fold in sorted(self._folds[kind.name].items())
                if each in self._theirs[kind.name] and (shown := fold.shown()) is not None
            }
            for kind in self._kinds
        }
        return written if any(written.values()) else None
