"""The fold: the same history is the same state, however it is cut, stored, or where it is folded."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chatledger.conversation import (
    REMEMBERED_CAUSES_MAX,
    REMEMBERED_DAYS,
    Conversation,
    Status,
    decode_state,
    encode_state,
    evolve,
    initial,
    messages_in_last_minute,
    was_handled,
)
from chatledger.events import Envelope, Event, UnknownEvent, dialog
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.ids import derive_id
from chatledger.replay import fold
from tests.unit.event_examples import TIME
from tests.unit.projects_at_hand import FOLDER
from tests.unit.strategies import dialog_events, json_objects, started, utc_times

CONVERSATION = "order-form/chat2desk/77"
unknown_events: st.SearchStrategy[Event] = st.builds(
    UnknownEvent, type_name=st.just("later.invented"), schema_version=st.just(1), data=json_objects
)


def envelope(event: Event, *, version: int, time: datetime = TIME, cause: object = "cause") -> Envelope:
    return Envelope(
        id=derive_id("event", version),
        source="/chatledger/dialog",
        conversation=CONVERSATION,
        time=time,
        stream=f"conversation-{CONVERSATION}",
        stream_version=version,
        correlation_id=derive_id(str(cause)),
        causation_id=derive_id(str(cause)),
        traceparent=None,
        data=event,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    """Any events of a conversation, known or not, several to a cause, at times that go back and forth."""
    moments = draw(st.lists(st.tuples(utc_times, st.integers(1, 3)), max_size=8))
    causes = [(cause, time) for cause, (time, count) in enumerate(moments) for _ in range(count)]
    firsts = iter([started] if draw(st.booleans()) else [])
    return [
        envelope(draw(next(firsts, dialog_events | unknown_events)), version=version, time=time, cause=cause)
        for version, (cause, time) in enumerate(causes, start=1)
    ]


def folded(history: list[Envelope], state: Conversation | None = None) -> Conversation:
    state = state or initial()
    for each in history:
        state = evolve(state, each)
    return state


@given(histories(), st.integers(0, 24))
def test_a_history_in_pieces_with_the_state_stored_between_is_the_history_in_one_go(
    history: list[Envelope], cut: int
) -> None:
    stored = decode_state(encode_state(folded(history[:cut])))
    assert encode_state(folded(history[cut:], stored)) == encode_state(folded(history))


@given(histories())
def test_a_stored_state_is_read_back_as_it_was(history: list[Envelope]) -> None:
    state = folded(history)
    assert decode_state(encode_state(state)) == state
    assert encode_state(decode_state(encode_state(state))) == encode_state(state)


@given(histories())
def test_a_history_from_the_wire_folds_to_the_same_bytes(history: list[Envelope]) -> None:
    decoded = [from_wire(wire.headers, wire.value) for wire in map(to_wire, history)]
    assert encode_state(folded(decoded)) == encode_state(folded(history))


@given(histories())
def test_a_second_copy_of_every_event_changes_nothing(history: list[Envelope]) -> None:
    twice = [each for pair in zip(history, history, strict=True) for each in pair]
    assert fold(twice) == fold(history)


@given(histories())
def test_the_version_is_the_last_events_and_each_cause_is_remembered(history: list[Envelope]) -> None:
    state = initial()
    for version, each in enumerate(history, start=1):
        state = evolve(state, each)
        assert state.version == version
        assert was_handled(state, each.causation_id or "")
    assert not was_handled(state, derive_id("never seen"))


@given(histories(), unknown_events, utc_times)
def test_an_unknown_event_only_advances_the_version_and_notes_its_cause(
    history: list[Envelope], event: Event, time: datetime
) -> None:
    before = folded(history)
    after = evolve(before, envelope(event, version=len(history) + 1, time=time, cause="unknown"))
    noted = ("version", "handled", "last_message_at", "recent_ms")
    for name in Conversation.__slots__:
        if name not in noted:
            assert getattr(after, name) == getattr(before, name)
    assert after.version == before.version + 1
    assert was_handled(after, derive_id("unknown"))


def handled_message(state: Conversation, cause: object, time: datetime) -> Conversation:
    return evolve(state, envelope(dialog.MessageDeferred(), version=state.version + 1, time=time, cause=cause))


def test_at_most_five_hundred_causes_are_remembered_the_newest_ones() -> None:
    state = initial()
    for number in range(REMEMBERED_CAUSES_MAX + 40):
        state = handled_message(state, number, TIME + timedelta(minutes=number))
    remembered = [was_handled(state, derive_id(str(number))) for number in range(REMEMBERED_CAUSES_MAX + 40)]
    assert remembered == [False] * 40 + [True] * REMEMBERED_CAUSES_MAX


def test_a_cause_is_remembered_for_a_week_and_forgotten_after_it() -> None:
    first = datetime(2026, 1, 5, 23, 59, 59, tzinfo=UTC)
    state = handled_message(initial(), "first", first)
    within = handled_message(state, "within", first + timedelta(days=REMEMBERED_DAYS))
    assert was_handled(within, derive_id("first"))
    beyond = handled_message(state, "beyond", first + timedelta(days=REMEMBERED_DAYS, seconds=1))
    assert not was_handled(beyond, derive_id("first"))


def test_a_clock_that_jumped_ahead_and_came_back_keeps_the_bound() -> None:
    state = handled_message(initial(), "from the future", TIME + timedelta(days=5000))
    for number in range(REMEMBERED_CAUSES_MAX + 5):
        state = handled_message(state, number, TIME + timedelta(seconds=number))
    assert sum(len(causes) for _, causes in state.handled) == REMEMBERED_CAUSES_MAX
    assert was_handled(state, derive_id(str(REMEMBERED_CAUSES_MAX)))


def test_messages_are_counted_over_one_minute_of_event_time() -> None:
    state = initial()
    for second in (0, 10, 59):
        state = handled_message(state, second, TIME + timedelta(seconds=second))
    assert messages_in_last_minute(state, TIME + timedelta(seconds=59)) == 3
    assert messages_in_last_minute(state, TIME + timedelta(seconds=60)) == 2
    assert messages_in_last_minute(state, TIME + timedelta(seconds=119)) == 0
    assert messages_in_last_minute(state, TIME - timedelta(minutes=10)) == 0


def test_only_messages_of_the_client_count_as_heard() -> None:
    state = handled_message(initial(), "message", TIME)
    later = TIME + timedelta(hours=1)
    rearmed = dialog.TimerRequested(kind="expiry", due=later)
    state = evolve(state, envelope(rearmed, version=2, time=later, cause="timer"))
    assert state.last_message_at == TIME
    assert messages_in_last_minute(state, later) == 0


def test_an_expired_conversation_forgets_what_was_answered() -> None:
    state = evolve(initial(), envelope(dialog.AddressGiven(address="12 Baker Street"), version=1))
    state = evolve(
        state,
        envelope(dialog.ConversationExpired(last_message_at=TIME), version=2, cause="timer"),
    )
    assert (state.status, state.address, state.timer_due) == (Status.INITIAL, None, None)


HASH_OF_A_HISTORY = """
from chatledger.replay import fold, state_hash
from chatledger.testing import conversation_test
from tests.unit.projects_at_hand import EXAMPLE

texts = ["привет", "12 Baker Street", "98765 43210", "x3", "no", "hi", "1", "2", "3", "4", "5", "?"]
histories = [conversation_test(EXAMPLE, client=str(client)).given(*texts[client:]).history for client in range(5)]
print(state_hash(fold(envelope for history in histories for envelope in history)))
"""


def test_two_processes_with_other_hash_seeds_fold_to_the_same_hash() -> None:
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH_OF_A_HISTORY],
            cwd=FOLDER.parent,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64
