"""chatledger.testing tells its users plainly what was expected and what was."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatledger.conversation import Status
from chatledger.events.cart import CartAbandoned
from chatledger.events.dialog import AddressGiven, ConversationExpired, NoticeDecided, PhoneGiven, ReplyRequested
from chatledger.events.inbound import NoticeDue
from chatledger.testing import START, STEP, conversation_test
from tests.unit.projects_at_hand import EXAMPLE, STORE


def test_events_can_be_given_in_place_of_texts() -> None:
    test = conversation_test(EXAMPLE).given("hi", AddressGiven(address="12 Baker Street"))
    test.then_status(Status.WAITING_PHONE).when("98765 43210").then(PhoneGiven(phone="+919876543210"), ReplyRequested)
    assert [each.stream_version for each in test.history] == list(range(1, len(test.history) + 1))


def test_time_goes_on_by_steps_from_where_it_was_set() -> None:
    test = conversation_test(EXAMPLE).when("hi").when("12 Baker Street")
    assert test.history[-1].time == START + STEP
    assert test.at(START + timedelta(hours=2)).when("?").history[-1].time == START + timedelta(hours=2)
    assert test.after(timedelta(hours=1)).when("?").history[-1].time == START + timedelta(hours=3)


@pytest.mark.parametrize(
    ("claim", "complaint"),
    [
        (lambda test: test.then(PhoneGiven), r"expected .*PhoneGiven.*but it led to .*AddressGiven\(address='12 "),
        (
            lambda test: test.then(AddressGiven(address="elsewhere"), ReplyRequested),
            r"elsewhere.*but it led to.*12 Baker",
        ),
        (lambda test: test.then_nothing(), r"expected nothing\nbut it led to"),
        (lambda test: test.then_reply(contains="Goodbye"), r"expected a reply with 'Goodbye', but it is 'What phone"),
        (lambda test: test.then_reply(equals="Goodbye"), r"expected the reply 'Goodbye', but it is 'What phone"),
        (lambda test: test.then_no_reply(), r"expected no reply, but there is"),
        (lambda test: test.then_status(Status.INITIAL), r"expected INITIAL, but it stands at WAITING_PHONE"),
        (lambda test: test.when_repeated().then_reply(contains="x"), r"expected one reply, but there are 0"),
    ],
)
def test_a_wrong_claim_fails_and_says_what_is(claim, complaint: str) -> None:
    test = conversation_test(EXAMPLE).given("hi").when("12 Baker Street")
    with pytest.raises(AssertionError, match=f"(?s){complaint}"):
        claim(test)


def test_what_cannot_be_meant_is_said_at_once() -> None:
    with pytest.raises(AssertionError, match="nothing was said yet"):
        conversation_test(EXAMPLE).when_repeated()
    with pytest.raises(AssertionError, match="no timer is pending"):
        conversation_test(EXAMPLE).when_timer_fires()


def test_a_timer_is_named_by_its_kind() -> None:
    test = conversation_test(STORE).given("Cement x 1")
    test.when_timer_fires(kind="cart").then(CartAbandoned)
    with pytest.raises(AssertionError, match="no timer is pending: none of the kind 'cart'"):
        test.when_timer_fires(kind="cart")
    test.when_timer_fires(kind="expiry").then(ConversationExpired)
    with pytest.raises(AssertionError, match="none of the kind 'tea'"):
        test.when_timer_fires(kind="tea")


def test_other_services_can_tell_something() -> None:
    notice = NoticeDue(regarding="reminder-1", purpose="custom", promotional=False, text="Hello", variables={})
    conversation_test(STORE).given("hi").when_told(notice).then(NoticeDecided, ReplyRequested).then_reply(
        equals="Hello"
    )
