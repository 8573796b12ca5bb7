"""Given, when, then: tests of a project's conversation, for users' own tests as much as for ours.

    conversation_test(project).given("hi", "12 Baker Street").when("+91 98765 43210").then(
        PhoneGiven(phone="+919876543210"), ReplyRequested
    )

It runs the real pipeline on event times of its own, so a test of a day's silence takes no time. Nothing is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatledger.conversation import EXPIRY, Conversation, Status, evolve, initial
from chatledger.events.base import Event
from chatledger.events.dialog import ReplyRequested
from chatledger.events.envelope import Envelope, caused_by, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, MessageReceived, NoticeDue, OrderReported, TimerFired
from chatledger.flows.pipeline import SOURCE, handle
from chatledger.projects import Project
from chatledger.shop import CART_TIMER

START = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
"""The time of the first message, unless the test says another."""
STEP = timedelta(seconds=5)
"""From one message to the next: what a quick writer needs, and far from the shipped rate limit."""

Told = OrderReported | InvoiceReported | NoticeDue
"""What other services tell a conversation."""

__all__ = ["ConversationTest", "conversation_test"]


def conversation_test(project: Project, *, client: str = "1", channel: str | None = None) -> ConversationTest:
    """Begin a test of one client's conversation with `project`, over its first channel unless another is named."""
    return ConversationTest(project, client=client, channel=channel or next(iter(project.channels)))


class ConversationTest:
    """One conversation under test. Each method returns the test itself, so that calls read as a sentence.

    `state` is the folded state; `history` holds every envelope so far, `events` what the last `when` led to, and
    `replies` the texts among them.
    """

    def __init__(self, project: Project, *, client: str, channel: str) -> None:
        self.project = project
        self.state: Conversation = initial()
        self.history: list[Envelope] = []
        self.events: list[Event] = []
        self._client, self._channel = client, channel
        self._conversation = conversation_id(project.name, channel, client)
        self._next_at = START
        self._inputs = 0
        self._last_input: Envelope | None = None

    def given(self, *past: str | Event) -> ConversationTest:
        """What happened before: texts of the client, which are handled, and events, which are taken as they are."""
        for each in past:
            if isinstance(each, str):
                self._take(self._message(each))
            else:
                cause = self._message("")
                self._fold(
                    caused_by(
                        cause,
                        [each],
                        source=SOURCE,
                        stream=cause.stream,
                        last_version=self.state.version,
                    )
                )
        return self

    def at(self, time: datetime) -> ConversationTest:
        """Set the time of the next message. It may lie before the last one's, as where a clock was set back."""
        self._next_at = time
        return self

    def after(self, silence: timedelta) -> ConversationTest:
        """Let `silence` pass after the last message."""
        last = self._last_input.time if self._last_input else START
        return self.at(last + silence)

    def when(self, text: str) -> ConversationTest:
        """The client writes `text`."""
        return self._take(self._message(text))

    def when_repeated(self) -> ConversationTest:
        """The provider sends the last message a second time."""
        assert self._last_input is not None, "nothing was said yet: call when() first"
        return self._take(self._last_input)

    def when_timer_fires(
        self, *, kind: str = EXPIRY, late: timedelta = timedelta(0), due: datetime | None = None
    ) -> ConversationTest:
        """The pending timer of a kind fires `late` after its time; `due` fires one that is not the pending one."""
        at = due or self._timer_due(kind)
        assert at is not None, f"no timer is pending: none of the kind {kind!r}"
        timer_id = derive_id(self._conversation, kind, at.isoformat())
        return self._take(self._input(TimerFired(timer_id=timer_id, kind=kind, due=at), at + late))

    def when_told(self, event: Told) -> ConversationTest:
        """Billing or outreach tells the conversation something."""
        return self._take(self._input(event, self._next_at))

    def then(self, *expected: Event | type[Event]) -> ConversationTest:
        """The last input led to exactly these events, in order; a class stands for any event of it."""
        same = len(expected) == len(self.events) and all(
            isinstance(event, wanted) if isinstance(wanted, type) else event == wanted
            for event, wanted in zip(self.events, expected, strict=True)
        )
        assert same, f"expected {_lines(expected)}\nbut it led to {_lines(self.events)}"
        return self

    def then_nothing(self) -> ConversationTest:
        """The last input led to nothing."""
        return self.then()

    def then_reply(self, *, contains: str | tuple[str, ...] = (), equals: str | None = None) -> ConversationTest:
        """The last input led to one reply, which has these parts, or is this text."""
        assert len(self.replies) == 1, f"expected one reply, but there are {len(self.replies)}: {self.replies}"
        text = self.replies[0]
        for part in (contains,) if isinstance(contains, str) else contains:
            assert part in text, f"expected a reply with {part!r}, but it is {text!r}"
        assert equals is None or text == equals, f"expected the reply {equals!r}, but it is {text!r}"
        return self

    def then_no_reply(self) -> ConversationTest:
        """The last input was not answered."""
        assert not self.replies, f"expected no reply, but there is {self.replies}"
        return self

    def then_status(self, status: Status) -> ConversationTest:
        """The conversation stands at `status` now."""
        assert self.state.status is status, f"expected {status}, but it stands at {self.state.status}"
        return self

    @property
    def replies(self) -> list[str]:
        """The texts that the last input was answered with."""
        return [event.text for event in self.events if isinstance(event, ReplyRequested)]

    def _message(self, text: str) -> Envelope:
        number = str(self._inputs + 1)
        message = MessageReceived(
            channel=self._channel,
            client_id=self._client,
            provider_message_id=number,
            text=text,
            reply_to={},
            raw={},
        )
        return self._input(message, self._next_at)

    def _timer_due(self, kind: str) -> datetime | None:
        if kind != CART_TIMER:
            return self.state.timer_due if kind == EXPIRY else None
        return self.state.shop.cart_timer_due if self.state.shop else None

    def _input(self, event: MessageReceived | TimerFired | Told, time: datetime) -> Envelope:
        self._inputs += 1
        self._next_at = time + STEP
        cause_id = derive_id("test", self._conversation, self._inputs)
        return from_outside(
            event,
            id=cause_id,
            source="/chatledger/testing",
            conversation=self._conversation,
            time=time,
        )

    def _take(self, cause: Envelope) -> ConversationTest:
        self._last_input = cause
        self.state, decided = handle(self.state, cause, {self.project.name: self.project})
        self.history += decided
        self.events = [envelope.data for envelope in decided]
        return self

    def _fold(self, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            self.history.append(envelope)
            self.state = evolve(self.state, envelope)


def _lines(events: tuple[Event | type[Event], ...] | list[Event]) -> str:
    return "".join(f"\n  {event.__name__ if isinstance(event, type) else event}" for event in events) or "nothing"
