"""History decided once more: each recorded input, in the state that was recorded before it, with the flows given. Pure.

Topics are recorded one beside the other, so an input's decisions may stand before or long after it in the ledger. What
belongs together is told by `causationid`, the state before by the stream's versions: the conversation's own events are
folded as they come, and an input is decided as soon as it is there and its decisions are complete.

Of an input that left no event one of two things is true: nothing was decided about it, or it was never handled. A
message that was handled left an event. Anything else was handled if a later input of its partition was, unless it is a
dead letter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chatledger import topics
from chatledger.conversation import Conversation, evolve, initial, was_handled
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope, caused_by, is_conversation, project_of
from chatledger.events.inbound import DeliveryReported, MessageReceived
from chatledger.events.inventory import InventoryUpdated
from chatledger.events.letters import RecordDeadLettered
from chatledger.flows import pipeline
from chatledger.inventory import LiveProjects
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.what_if.changes import Change, changes

Decide = Callable[[Conversation, Envelope, Project], list[Event]]
DIALOG_SERVICE = "dialog"
"""Who could not handle a dead letter: only the dialog's letters are about decisions."""
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Which projects there are does not change with time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why nothing was decided: `error` is the kind, `place` the file and line, `text` what may quote the client."""

    error: str
    place: str
    text: str = ""


class DecisionFailed(Exception):
    """The flow did not come to a decision."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.error} at {failure.place}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One input, what was recorded because of it, and what would be decided now."""

    cause: LedgerEvent
    recorded: tuple[Event, ...]
    decided: tuple[Event, ...]
    changes: tuple[Change, ...] = ()
    failure: Failure | None = None

    @property
    def differs(self) -> bool:
        """Whether another decision would be made, or none."""
        return bool(self.changes) or self.failure is not None


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What tells whether an input without decisions was handled. A second look at a part of history takes it along."""

    last_decided: dict[int, int] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def was_handled(self, cause: LedgerEvent) -> bool:
        """Whether the dialog came past this input, which is no message, and could process it."""
        passed = cause.position < self.last_decided.get(cause.partition, 0)
        return passed and cause.envelope.id not in self.dead


@dataclass(slots=True, kw_only=True)
class LeftOut:
    """What could not be compared. `not_decided` and `without_input` count inputs, the others name conversations."""

    not_decided: int = 0
    without_input: int = 0
    incomplete: set[str] = field(default_factory=set)
    without_project: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Decisions:
    """The events with one cause, and the state before them."""

    cause: str
    before: Conversation
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Thread:
    """One conversation on its way. `inputs` wait for decisions, `passed` were passed over by the dialog so far.

    `changed` is the state that the new decisions have led to, where these are followed.
    """

    state: Conversation = field(default_factory=initial)
    decisions: deque[_Decisions] = field(default_factory=deque)
    inputs: dict[str, LedgerEvent] = field(default_factory=dict)
    passed: dict[str, tuple[LedgerEvent, Compared | None]] = field(default_factory=dict)
    changed: Conversation | None = None


class Comparison:
    """Takes history in the order of positions, and yields each input that was compared, as soon as it can be.

    `projects` is told of stock and prices as they come; for a moment long past it is right only if it had them before.
    With `follow`, a conversation goes on with what the new decisions made of it after the first one that differs.
    Inputs recorded before `since` are folded and not compared. `decide` may raise DecisionFailed.
    """

    def __init__(
        self,
        projects: LiveProjects,
        *,
        decide: Decide = pipeline.decide,
        since: datetime | None = None,
        follow: bool = False,
        evidence: Evidence | None = None,
    ) -> None:
        self.left_out = LeftOut()
        self.evidence = evidence or Evidence()
        self._projects = projects
        self._names = frozenset(projects.at(_ANY_TIME))
        self._decide = decide
        self._since = since
        self._follow = follow
        self._threads: dict[str, _Thread] = {}

    def take(self, event: LedgerEvent) -> Iterator[Compared]:
        """Go one event further. What is about no decision is passed over."""
        envelope = event.envelope
        data = envelope.data
        if envelope.stream_version is not None and envelope.stream.startswith("conversation-"):
            yield from self._recorded(event)
        elif event.topic == topics.INBOUND:
            if not isinstance(data, DeliveryReported) and is_conversation(envelope.conversation):
                yield from self._came_in(event)
        elif isinstance(data, InventoryUpdated):
            self._projects.take(project_of(envelope.conversation), data)
        elif isinstance(data, RecordDeadLettered) and data.service == DIALOG_SERVICE and envelope.causation_id:
            self.evidence.dead.add(envelope.causation_id)

    def end(self) -> Iterator[Compared]:
        """Say that history is at its end, and yield what was open until then."""
        for thread in self._threads.values():
            yield from self._settle(thread, at_end=True)
        for thread in self._threads.values():
            state = thread.state
            yield from self._pass_over(thread, list(thread.inputs.values()), state)
            for cause, provisional in thread.passed.values():
                if provisional is not None and self.evidence.was_handled(cause):
                    yield provisional
                elif not self._is_before(cause):
                    self.left_out.not_decided += 1
        self._threads.clear()

    def _thread(self, conversation: str) -> _Thread | None:
        thread = self._threads.get(conversation)
        if thread is None and conversation not in self.left_out.incomplete:
            if project_of(conversation) not in self._names:
                self.left_out.without_project.add(conversation)
                return None
            thread = self._threads[conversation] = _Thread()
        return thread

    def _came_in(self, event: LedgerEvent) -> Iterator[Compared]:
        thread = self._thread(event.envelope.conversation)
        if thread is not None:
            thread.inputs.setdefault(event.envelope.id, event)
            yield from self._settle(thread)

    def _recorded(self, event: LedgerEvent) -> Iterator[Compared]:
        """Fold one of the conversation's own events, and note it under its cause."""
        envelope = event.envelope
        thread = self._thread(envelope.conversation)
        version = envelope.stream_version or 0
        if thread is None or version <= thread.state.version:
            return
        if version > thread.state.version + 1:
            self.left_out.incomplete.add(envelope.conversation)
            del self._threads[envelope.conversation]
            return
        cause = envelope.causation_id or envelope.id
        if not (thread.decisions and thread.decisions[-1].cause == cause):
            thread.decisions.append(_Decisions(cause=cause, before=thread.state))
        thread.decisions[-1].events.append(envelope.data)
        thread.state = evolve(thread.state, envelope)
        if len(thread.decisions) > 1:
            yield from self._settle(thread)

    def _settle(self, thread: _Thread, *, at_end: bool = False) -> Iterator[Compared]:
        """Compare what is complete and whose input is there: the oldest first, since one may follow from another."""
        while len(thread.decisions) > (0 if at_end else 1):
            decisions = thread.decisions[0]
            cause, _ = thread.passed.pop(decisions.cause, (None, None))
            cause = cause or thread.inputs.pop(decisions.cause, None)
            if cause is None and not at_end:
                return
            thread.decisions.popleft()
            if cause is None:
                self.left_out.without_input += 1
                continue
            newest = self.evidence.last_decided
            newest[cause.partition] = max(newest.get(cause.partition, 0), cause.position)
            earlier = [each for each in thread.inputs.values() if each.position < cause.position]
            yield from self._pass_over(thread, earlier, decisions.before)
            compared = self._compare(thread, cause, decisions.before, decisions.events)
            if compared is not None:
                yield compared

    def _pass_over(self, thread: _Thread, causes: Sequence[LedgerEvent], before: Conversation) -> Iterator[Compared]:
        """Decide about inputs that left no events. They may still: a dead letter is put back, and handled then."""
        for cause in causes:
            del thread.inputs[cause.envelope.id]
            if was_handled(before, cause.envelope.id):
                continue  # a second copy
            if isinstance(cause.envelope.data, MessageReceived) or cause.envelope.id in self.evidence.dead:
                thread.passed[cause.envelope.id] = (cause, None)
                continue
            compared = self._compare(thread, cause, before, ())
            if compared is not None and compared.differs:
                thread.passed[cause.envelope.id] = (cause, compared)
            elif compared is not None:
                yield compared

    def _compare(
        self, thread: _Thread, cause: LedgerEvent, before: Conversation, recorded: Sequence[Event]
    ) -> Compared | None:
        if self._is_before(cause):
            return None
        state = thread.changed or before
        project = self._projects.at(cause.envelope.time)[project_of(cause.envelope.conversation)]
        try:
            decided = self._decide(state, cause.envelope, project)
        except DecisionFailed as failed:
            return Compared(cause=cause, recorded=tuple(recorded), decided=(), failure=failed.failure)
        differing = () if decided == list(recorded) else changes(recorded, decided)
        if self._follow and (differing or thread.changed is not None):
            thread.changed = _after(state, cause.envelope, decided)
        return Compared(cause=cause, recorded=tuple(recorded), decided=tuple(decided), changes=differing)

    def _is_before(self, cause: LedgerEvent) -> bool:
        """Whether it came before what is to be compared."""
        return self._since is not None and cause.recorded_at < self._since


def _after(state: Conversation, cause: Envelope, decided: Sequence[Event]) -> Conversation:
    envelopes = caused_by(
        cause,
        decided,
        source=pipeline.SOURCE,
        stream=f"conversation-{cause.conversation}",
        last_version=state.version,
    )
    for envelope in envelopes:
        state = evolve(state, envelope)
    return state
