"""The pipeline under anything that can come in: it never raises, never repeats itself, never floods."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatledger.conversation import REMEMBERED_DAYS, Conversation, Status, decode_state, encode_state, initial
from chatledger.errors import InvariantViolated
from chatledger.events import Envelope, Event, dialog
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.envelope import caused_by, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived, TimerFired, WebhookNoted
from chatledger.flows.pipeline import handle
from chatledger.replay import fold
from chatledger.testing import START, conversation_test
from tests.unit.projects_at_hand import DOCUMENT, EXAMPLE, variant
from tests.unit.strategies import texts

CONVERSATION = "order-form/chat2desk/77"
USUAL_TEXTS = ["hi", "привет", "12 Baker Street", "98765 43210", "3", "x99", "yes", "да", "no", "", "?", "{item}", "1"]
COMMANDS = ["cancel", "Restart!", "/back", "help", "отмена", "заново", "назад", "помощь"]
PER_MINUTE = 6
SLOW = variant(limits={"messages_per_minute_and_client": PER_MINUTE})


def message(number: object, text: str, time: datetime) -> Envelope:
    event = MessageReceived(
        channel="chat2desk",
        client_id="77",
        provider_message_id=str(number),
        text=text,
        reply_to={},
        raw={},
    )
    return outside(event, number, time)


def outside(event: Event, number: object, time: datetime) -> Envelope:
    return from_outside(
        event,
        id=derive_id("outside", str(number)),
        source="/chatledger/ingress",
        conversation=CONVERSATION,
        time=time,
    )


def sayings(language: str) -> re.Pattern[str]:
    """Everything that the project can say in one language, whatever its variables hold."""
    templates = (re.sub(r"\\\{\w+\\\}", ".*", re.escape(text)) for text in EXAMPLE.texts[language].values())
    one = f"(?:{'|'.join(templates)})"
    return re.compile(f"{one}(?:\n\n{one})*", re.DOTALL)


SAYINGS = [sayings(language) for language in EXAMPLE.languages]


class AnyConversation(RuleBasedStateMachine):
    """One client's conversation, with whatever a client, a provider, a timer service and a clock may do."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Conversation = initial()
        self.now = self.newest = START
        self.inputs: list[Envelope] = []
        self.history: list[Envelope] = []
        self.pending: datetime | None = None

    @initialize(timers_are_late=st.booleans())
    def begin(self, timers_are_late: bool) -> None:
        self.timers_are_late = timers_are_late

    @rule(text=st.sampled_from(USUAL_TEXTS) | st.sampled_from(COMMANDS) | texts)
    def the_client_writes(self, text: str) -> None:
        self.now += timedelta(seconds=2)
        decided = self.take(message(len(self.inputs), text, self.now))
        assert decided, "a message left no trace"

    @rule(hours=st.floats(-1, 30))
    def the_clock_jumps(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @rule(back=st.integers(0, 20))
    @precondition(lambda self: self.inputs)
    def an_input_comes_twice(self, back: int) -> None:
        before = self.state
        repeated = self.inputs[-1 - back % len(self.inputs)]
        assume(self.newest - repeated.time < timedelta(days=REMEMBERED_DAYS))
        assert not self.take(repeated)
        assert self.state == before

    @rule()
    def an_echo_comes(self) -> None:
        event = WebhookNoted(channel="chat2desk", client_id="77", provider_message_id="", kind="outbox", raw={})
        assert not self.take(outside(event, f"echo {len(self.inputs)}", self.now))

    @rule(late=st.floats(0, 40))
    @precondition(lambda self: self.pending)
    def the_pending_timer_fires(self, late: float) -> None:
        assert self.pending
        due, self.pending = self.pending, None
        self.now = max(self.now, due + timedelta(hours=late if self.timers_are_late else 0))
        decided = self.fire(due)
        assert [type(event) for event in decided] in ([dialog.ConversationExpired], [dialog.TimerRequested])

    @rule(minutes=st.integers(1, 100))
    @precondition(lambda self: self.pending)
    def a_stale_timer_fires(self, minutes: int) -> None:
        assert self.pending
        assert not self.fire(self.pending - timedelta(minutes=minutes))

    @invariant()
    def the_state_is_the_fold_of_what_was_published(self) -> None:
        assert [each.stream_version for each in self.history] == list(range(1, len(self.history) + 1))
        assert fold(self.history).get(CONVERSATION, initial()) == self.state
        assert decode_state(encode_state(self.state)) == self.state
        assert self.state.timer_due == self.pending

    def fire(self, due: datetime) -> list[Event]:
        timer = TimerFired(timer_id=derive_id(due.isoformat()), kind="expiry", due=due)
        return self.take(outside(timer, f"timer {len(self.history)} {self.now}", self.now))

    def take(self, cause: Envelope) -> list[Event]:
        first_time = cause not in self.inputs
        self.state, envelopes = handle(self.state, cause, {"order-form": SLOW})
        for each in envelopes:
            wire = to_wire(each)
            assert from_wire(wire.headers, wire.value) == each
            self.check(each.data)
        assert first_time or not envelopes
        if envelopes:
            self.newest = max(self.newest, cause.time)
        if isinstance(cause.data, MessageReceived) and first_time:
            self.inputs.append(cause)
        self.history += envelopes
        return [each.data for each in envelopes]

    def check(self, event: Event) -> None:
        if isinstance(event, dialog.ReplyRequested):
            assert any(each.fullmatch(event.text) for each in SAYINGS), event.text
        if isinstance(event, dialog.TimerRequested):
            assert self.pending is None, "a second timer while one is pending"
            self.pending = event.due
        if isinstance(event, dialog.ConversationExpired):
            self.pending = None


TestAnyConversation = AnyConversation.TestCase
TestAnyConversation.settings = settings(max_examples=40, stateful_step_count=30)


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
def test_no_minute_of_event_time_has_more_messages_worked_on_than_the_limit(gaps_ms: list[int]) -> None:
    state, now = initial(), START
    worked_on: list[datetime] = []
    told: list[datetime] = []
    for number, gap in enumerate(gaps_ms):
        now += timedelta(milliseconds=gap)
        state, envelopes = handle(state, message(number, "hello there", now), {"order-form": SLOW})
        throttled = [each.data for each in envelopes if isinstance(each.data, dialog.MessageThrottled)]
        if not throttled:
            worked_on.append(now)
        elif throttled[0].told:
            told.append(now)
            assert [type(each.data) for each in envelopes] == [dialog.MessageThrottled, dialog.ReplyRequested]
        else:
            assert len(envelopes) == 1
    for times, most in ((worked_on, PER_MINUTE), (told, 1)):
        for first in times:
            assert sum(first <= time < first + timedelta(minutes=1) for time in times) <= most


def test_a_throttled_client_is_served_again_a_minute_later() -> None:
    test = conversation_test(SLOW).given(*["hello"] * PER_MINUTE)
    test.when("hello").then(dialog.MessageThrottled(told=True), dialog.ReplyRequested)
    test.then_reply(equals=EXAMPLE.text("en", "throttled"))
    test.when("hello").then(dialog.MessageThrottled(told=False))
    test.after(timedelta(minutes=1)).when("restart").then(dialog.ConversationRestarted, dialog.ReplyRequested)


def test_after_a_clock_was_set_back_a_busy_client_is_not_shut_out() -> None:
    test = conversation_test(SLOW).given(*["hi", "12 Baker Street", "help", "help", "help", "help"])
    test.when("help").then(dialog.MessageThrottled(told=True), dialog.ReplyRequested)
    test.after(-timedelta(minutes=10)).when("98765 43210").then(dialog.PhoneGiven, dialog.ReplyRequested)


def test_a_client_who_waits_for_a_person_is_not_told_to_wait() -> None:
    test = conversation_test(SLOW).given("hi", "1", "2", "3", "4", "5").then_status(Status.HANDED_OFF)
    test.when("hello?").then(dialog.MessageThrottled(told=False)).then_no_reply()


def test_a_throttled_message_is_a_duplicate_when_it_comes_again() -> None:
    test = conversation_test(SLOW).given(*["hello"] * (PER_MINUTE + 1))
    test.when_repeated().then_nothing()


def test_without_its_project_a_conversation_cannot_be_handled() -> None:
    with pytest.raises(InvariantViolated, match=r"no project 'order-form'"):
        handle(initial(), message(1, "hi", START), {})


def test_deciding_again_gives_the_same_ids() -> None:
    cause = message(1, "hi", START)
    once, again = (handle(initial(), cause, {"order-form": EXAMPLE})[1] for _ in range(2))
    assert once == again
    assert len({each.id for each in once}) == len(once) == 3
    assert {each.correlation_id for each in once} == {each.causation_id for each in once} == {cause.id}
    assert {each.traceparent for each in once} == {cause.traceparent}


def test_billing_and_dialog_never_derive_the_same_id_from_one_cause() -> None:
    cause = message(1, "hi", START)
    one, other = (
        caused_by(cause, [dialog.MessageDeferred()], source=source, stream="stream", last_version=None)
        for source in ("/chatledger/dialog", "/chatledger/billing")
    )
    assert one[0].id != other[0].id


def test_the_shipped_limit_lets_a_quick_writer_through() -> None:
    assert DOCUMENT["limits"]["messages_per_minute_and_client"] >= 30
