"""The order form over time and tongues: silence, timers that are late, languages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatledger.conversation import Status
from chatledger.events.dialog import (
    ConversationExpired,
    ConversationStarted,
    MessageDeferred,
    OrderPlaced,
    PhoneGiven,
    ReplyRequested,
    TimerRequested,
)
from chatledger.testing import START, STEP, conversation_test
from tests.unit.projects_at_hand import DOCUMENT, EXAMPLE, offer, variant

ADDRESS, PHONE = "12 Baker Street", "98765 43210"
DAY, HOUR = timedelta(hours=24), timedelta(hours=1)


def test_a_days_silence_ends_the_conversation_and_the_next_message_is_greeted() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS)
    last_message = START + STEP
    test.when_timer_fires().then(TimerRequested(kind="expiry", due=last_message + DAY))
    test.when_timer_fires().then(ConversationExpired(last_message_at=last_message)).then_no_reply()
    test.then_status(Status.INITIAL)
    assert test.state.timer_due is None
    test.when("hello").then(ConversationStarted, ReplyRequested, TimerRequested)
    test.then_reply(contains="Hello! I take orders")


def test_a_message_meanwhile_makes_the_timer_wait_for_the_rest() -> None:
    test = conversation_test(EXAMPLE).given("hi").after(23 * HOUR).when(ADDRESS)
    test.when_timer_fires().then(TimerRequested(kind="expiry", due=START + 47 * HOUR))
    test.then_no_reply().then_status(Status.WAITING_PHONE)
    test.when_timer_fires().then(ConversationExpired(last_message_at=START + 23 * HOUR))


def test_only_the_pending_timer_counts() -> None:
    test = conversation_test(EXAMPLE).given("hi").after(23 * HOUR).given(ADDRESS)
    test.when_timer_fires().then(TimerRequested)
    test.when_timer_fires(due=START + DAY).then_nothing()
    test.when_timer_fires(due=START + 400 * DAY).then_nothing()
    test.when_timer_fires().then(ConversationExpired)
    test.when_timer_fires(due=START + 47 * HOUR).then_nothing()


def test_a_timer_that_fires_twice_ends_the_conversation_once() -> None:
    test = conversation_test(EXAMPLE).given("hi")
    test.when_timer_fires().then(ConversationExpired)
    test.when_repeated().then_nothing()


def test_a_late_timer_ends_the_conversation_late() -> None:
    test = conversation_test(EXAMPLE).given("hi")
    test.when_timer_fires(late=3 * DAY).then(ConversationExpired(last_message_at=START))


def test_a_client_who_is_back_before_the_late_timer_is_greeted_and_not_cut_off_by_it() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS).after(DAY).when("I am back")
    back_at = START + STEP + DAY
    test.then(ConversationStarted, ReplyRequested).then_status(Status.WAITING_ADDRESS)
    test.when_timer_fires(late=2 * HOUR).then(TimerRequested(kind="expiry", due=back_at + DAY))
    test.when(ADDRESS).then_status(Status.WAITING_PHONE)


def test_just_before_the_day_is_over_the_conversation_goes_on() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS).after(DAY - timedelta(microseconds=1)).when(PHONE)
    test.then(PhoneGiven, ReplyRequested)


def test_a_message_costs_no_timer_while_one_is_pending() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS, PHONE, "back", "help", "restart", "cancel", "hi", "-")
    assert sum(isinstance(each.data, TimerRequested) for each in test.history) == 1


def test_the_length_of_a_session_is_the_projects() -> None:
    test = conversation_test(variant(session_hours=1)).given("hi").after(HOUR).when(ADDRESS)
    test.then(ConversationStarted, ReplyRequested)


def test_the_bot_speaks_again_when_a_handed_over_session_is_over() -> None:
    test = conversation_test(EXAMPLE).given("hi", "1", "2", "3", "4", "5").then_status(Status.HANDED_OFF)
    test.after(23 * HOUR).when("anybody?").then(MessageDeferred())
    test.after(23 * HOUR).when("anybody?").then(MessageDeferred())
    test.after(DAY).when("hello").then(ConversationStarted, ReplyRequested)


def test_a_message_that_comes_twice_is_handled_once() -> None:
    test = conversation_test(EXAMPLE).when("hi")
    test.when_repeated().then_nothing()
    test.given(ADDRESS, PHONE, "3").when("yes").then(OrderPlaced, ReplyRequested)
    test.when_repeated().then_nothing()


def test_a_clock_set_back_does_no_harm() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS).after(timedelta(minutes=-10)).when(PHONE)
    test.then(PhoneGiven, ReplyRequested)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hello", "en"),
        ("Привет", "ru"),
        ("Здравствуйте, John", "ru"),
        ("hola", "en"),
        ("नमस्ते", "en"),
        ("123", "en"),
        ("", "en"),
    ],
)
def test_the_first_message_chooses_the_language_and_others_fall_back_to_the_first(text: str, language: str) -> None:
    test = conversation_test(EXAMPLE).when(text)
    assert test.state.language == language
    test.then_reply(contains=EXAMPLE.text(language, "ask_address"))


def test_a_conversation_stays_in_its_language() -> None:
    test = conversation_test(EXAMPLE).when("Добрый день").then_reply(contains="питьевая вода, 19 л")
    test.when("12 Baker Street").then_reply(equals="По какому телефону с вами связаться?")
    test.when("+7 912 345-67-89").when("3").then_reply(contains=("Итого: 750\u00a0₹", "Да или нет."))
    test.when("yes").then_reply(contains="Доставим в течение двух дней.")
    assert isinstance(test.events[0], OrderPlaced)
    assert test.events[0].lines[0].name == "питьевая вода, 19 л"


def test_the_next_conversation_may_be_in_another_language() -> None:
    test = conversation_test(EXAMPLE).given("привет", "отмена").when("hello again")
    assert test.state.language == "en"


def test_words_of_every_language_of_the_project_count() -> None:
    test = conversation_test(EXAMPLE).given("hi", ADDRESS, PHONE, "3 шт").when("да")
    test.then(OrderPlaced, ReplyRequested).then_reply(contains="Thank you!")


def test_a_language_that_the_project_no_longer_speaks_falls_back_to_its_first() -> None:
    test = conversation_test(EXAMPLE).given("привет")
    test.project = variant(languages=["en"])
    test.when(ADDRESS).then_reply(equals="What phone number can we reach you on?")


def test_a_project_with_one_language_answers_in_it() -> None:
    test = conversation_test(variant(languages=["ru"])).when("hello").then_reply(contains="Здравствуйте!")
    test.when("1").then_reply(contains="В адресе от 5 до 200 символов.")


def test_an_item_without_a_name_in_the_language_keeps_the_name_it_has() -> None:
    project = variant(offer=offer(item={"en": "water"}, delivery_promise={}))
    test = conversation_test(project).when("привет").then_reply(contains="Я принимаю заказы: water.")
    test.given("улица Мира, 5", PHONE, "1").when("да")
    assert isinstance(test.events[0], OrderPlaced)
    test.then_reply(equals=f"Спасибо! Номер вашего заказа: {test.events[0].order_number}.")


def test_a_project_may_say_and_understand_other_things() -> None:
    project = variant(
        texts={"en": {"ask_address": "Where to? {item}!"}},
        words={"en": {"yes": ["Aye"], "help": ["SOS"]}},
        offer=DOCUMENT["offer"],
    )
    test = conversation_test(project).when("hi").then_reply(contains="Where to? drinking water, 19 l!")
    test.when("sos").then_reply(contains="Write 'back'")
    test.given(ADDRESS, PHONE, "1").when("aye!").then(OrderPlaced, ReplyRequested)
