"""The flow order_form, rule by rule: what a client writes, what happens, and what is answered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatledger.conversation import Status
from chatledger.events.dialog import (
    AddressGiven,
    AnswerRejected,
    AnswerWithdrawn,
    ConversationRestarted,
    ConversationStarted,
    HandoffRequested,
    MessageDeferred,
    OrderCancelled,
    OrderPlaced,
    PhoneGiven,
    QuantityGiven,
    ReplyRequested,
    TimerRequested,
)
from chatledger.events.ids import derive_id, order_number
from chatledger.events.orders import OrderLine
from chatledger.testing import START, ConversationTest, conversation_test
from tests.unit.projects_at_hand import EXAMPLE, offer, variant

ADDRESS, PHONE, E164 = "12 Baker Street", "98765 43210", "+919876543210"
DAY = timedelta(hours=24)
AT: dict[Status, tuple[str, ...]] = {
    Status.WAITING_ADDRESS: ("hi",),
    Status.WAITING_PHONE: ("hi", ADDRESS),
    Status.WAITING_QUANTITY: ("hi", ADDRESS, PHONE),
    Status.WAITING_CONFIRMATION: ("hi", ADDRESS, PHONE, "3"),
}
QUESTION = {
    Status.WAITING_ADDRESS: "What is the delivery address?",
    Status.WAITING_PHONE: "What phone number can we reach you on?",
    Status.WAITING_QUANTITY: "How many would you like? (1–50)",
    Status.WAITING_CONFIRMATION: "Shall I place it? Yes or no.",
}
everywhere = pytest.mark.parametrize("status", AT)


def at(status: Status, **changes: object) -> ConversationTest:
    return conversation_test(variant(**changes)).given(*AT[status]).then_status(status)


@pytest.mark.parametrize("text", ["hi", "1", "", "   ", "yes", "cancel", "/restart", "?", "\U0001f44d"])
def test_any_first_message_is_greeted_and_asked_for_the_address(text: str) -> None:
    test = conversation_test(EXAMPLE).when(text)
    test.then(
        ConversationStarted(flow="order_form", language="en"),
        ReplyRequested,
        TimerRequested(kind="expiry", due=START + DAY),
    )
    test.then_reply(equals="Hello! I take orders for drinking water, 19 l.\n\nWhat is the delivery address?")
    test.then_status(Status.WAITING_ADDRESS)


def test_a_reply_goes_back_the_way_the_message_came() -> None:
    [reply] = [each for each in conversation_test(EXAMPLE, client="+91:1").when("hi").events if "reply" in each.type]
    assert isinstance(reply, ReplyRequested)
    assert (reply.channel, reply.client_id) == ("chat2desk", "+91:1")


@pytest.mark.parametrize(
    "text",
    ["Hauz 5", "Pune1", "a" * 200, "  Pune 5 \n", "12, MG Road", "улица Мира, 5", "पुणे रोड", "東京都港区芝"],
)
def test_an_address_of_5_to_200_characters_with_a_letter_is_taken(text: str) -> None:
    test = at(Status.WAITING_ADDRESS).when(text)
    test.then(AddressGiven(address=text.strip()), ReplyRequested).then_reply(equals=QUESTION[Status.WAITING_PHONE])


def test_an_address_over_several_lines_becomes_one() -> None:
    test = at(Status.WAITING_ADDRESS).when("  12 Baker Street,\n\n   London  ")
    test.then(AddressGiven(address="12 Baker Street, London"), ReplyRequested)


@pytest.mark.parametrize("text", ["Pune", "abc", "", " a b ", "a" * 201, "a " * 101, "   Pune   "])
def test_a_shorter_or_longer_address_is_refused_with_the_reason(text: str) -> None:
    test = at(Status.WAITING_ADDRESS).when(text)
    kept = text.strip()[:200]
    test.then(AnswerRejected(question="address", reason="address_length", answer=kept), ReplyRequested)
    test.then_reply(equals="An address has 5 to 200 characters.\n\nWhat is the delivery address?")


@pytest.mark.parametrize("text", ["12345", "12-34/56", "......", "१२३४५", "12345 \U0001f3e0", "?!?!?"])
def test_an_address_of_digits_and_punctuation_is_refused_with_the_reason(text: str) -> None:
    test = at(Status.WAITING_ADDRESS).when(text)
    test.then(AnswerRejected(question="address", reason="address_no_letters", answer=text), ReplyRequested)
    test.then_reply(contains=("needs a street or a place name", QUESTION[Status.WAITING_ADDRESS]))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("9876543210", E164),
        ("98765 43210", E164),
        ("098765-43210", E164),
        ("+91 (98765) 43210", E164),
        ("0091 98765 43210", E164),
        ("my number is 98765 43210", E164),
        ("९८७६५ ४३२१०", E164),
        ("+44 20 7946 0958", "+442079460958"),
        ("+7 912 345-67-89", "+79123456789"),
    ],
)
def test_a_phone_number_national_or_international_is_kept_in_e164(text: str, kept: str) -> None:
    test = at(Status.WAITING_PHONE).when(text)
    test.then(PhoneGiven(phone=kept), ReplyRequested).then_reply(equals=QUESTION[Status.WAITING_QUANTITY])


@pytest.mark.parametrize("text", ["12", "no idea", "", "+1", "0000000000", "98765 4321", "+999 12345", "9" * 65, "+"])
def test_an_invalid_phone_number_is_refused(text: str) -> None:
    test = at(Status.WAITING_PHONE).when(text)
    test.then(AnswerRejected(question="phone", reason="phone_invalid", answer=text), ReplyRequested)
    test.then_reply(contains=("not a phone number that I can use", QUESTION[Status.WAITING_PHONE]))


def test_a_national_number_is_one_of_the_projects_region() -> None:
    at(Status.WAITING_PHONE, region="RU").when("8 912 345-67-89").then(PhoneGiven(phone="+79123456789"), ReplyRequested)
    at(Status.WAITING_PHONE, region="RU").when(PHONE).then(PhoneGiven(phone="+79876543210"), ReplyRequested)
    at(Status.WAITING_PHONE, region="GB").when(PHONE).then(AnswerRejected, ReplyRequested)


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("3", 3),
        (" 3 ", 3),
        ("3.", 3),
        ("x3", 3),
        ("X 3", 3),
        ("х3", 3),
        ("×3", 3),
        ("3x", 3),
        ("3 pcs", 3),
        ("3pcs.", 3),
        ("3 Pieces", 3),
        ("3 шт", 3),
        ("3шт.", 3),
        ("3 ШТУКИ", 3),
        ("1", 1),
        ("50", 50),
        ("007", 7),
        ("३", 3),
    ],
)
def test_a_whole_number_in_the_range_is_taken(text: str, quantity: int) -> None:
    at(Status.WAITING_QUANTITY).when(text).then(QuantityGiven(quantity=quantity), ReplyRequested)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "1.5",
        "1,5",
        "51",
        "three",
        "три",
        "99999999999999999999",
        "x",
        "",
        "3 bottles please",
        "3 4",
        "1e1",
        "½",
        "²",
        "yes",
        "0x3",
        "3 kg",
    ],
)
def test_any_other_quantity_is_refused_with_the_range(text: str) -> None:
    test = at(Status.WAITING_QUANTITY).when(text)
    test.then(AnswerRejected(question="quantity", reason="quantity_range", answer=text), ReplyRequested)
    test.then_reply(equals=f"Please give a whole number from 1 to 50.\n\n{QUESTION[Status.WAITING_QUANTITY]}")


def test_the_largest_quantity_is_the_projects() -> None:
    test = at(Status.WAITING_QUANTITY, offer=offer(quantity_max=2))
    test.when("3").then_reply(contains=("from 1 to 2.", "(1–2)"))
    test.when("2").then(QuantityGiven(quantity=2), ReplyRequested)


def test_the_summary_says_what_will_be_ordered() -> None:
    conversation_test(EXAMPLE).given("hi", ADDRESS, PHONE).when("3").then_reply(
        equals="Please check your order of drinking water, 19 l:\n"
        f"Address: {ADDRESS}\nPhone: {E164}\nQuantity: 3\nTotal: ₹750\nShall I place it? Yes or no."
    )


def test_without_a_price_the_summary_has_no_total_and_the_order_no_currency() -> None:
    test = at(Status.WAITING_QUANTITY, offer=offer(price=None)).when("3")
    assert "Total" not in test.replies[0]
    test.then_reply(contains="Quantity: 3\nShall")
    [placed, _] = test.when("yes").events
    assert isinstance(placed, OrderPlaced)
    assert placed.currency is None
    assert placed.lines == (OrderLine(name="drinking water, 19 l", quantity=3, unit_price_minor=None),)


YES = ["yes", "Yes!", " YES. ", "y", "ok", "Okay !", "1", "да", "Да!", "ДА", "хорошо"]
NO = ["no", "No.", "n", "nope", "2", "нет", "Нет!", "не  надо"]


@pytest.mark.parametrize("text", YES)
def test_a_whole_word_yes_in_any_of_the_languages_places_the_order(text: str) -> None:
    test = at(Status.WAITING_CONFIRMATION).when(text)
    order_id = derive_id(derive_id("test", "order-form/chat2desk/1", 5), "order")
    placed = OrderPlaced(
        order_id=order_id,
        order_number=order_number(order_id),
        lines=(OrderLine(name="drinking water, 19 l", quantity=3, unit_price_minor=25_000),),
        currency="INR",
        address=ADDRESS,
        phone=E164,
    )
    test.then(placed, ReplyRequested).then_status(Status.COMPLETED)
    test.then_reply(
        equals=f"Thank you! Your order number is {placed.order_number}. We deliver within two days.",
    )


@pytest.mark.parametrize("text", NO)
def test_a_no_cancels_and_says_so(text: str) -> None:
    test = at(Status.WAITING_CONFIRMATION).when(text)
    test.then(OrderCancelled(reason="client"), ReplyRequested).then_status(Status.CANCELLED)
    test.then_reply(contains="Your order is cancelled.")


@pytest.mark.parametrize(
    "text", ["not ok", "maybe yes?", "y0", "yes no", "yesterday", "noo", "", "3", "okey dokey", "!"]
)
def test_anything_else_is_neither_and_asks_again(text: str) -> None:
    test = at(Status.WAITING_CONFIRMATION).when(text)
    test.then(AnswerRejected(question="confirmation", reason="not_yes_or_no", answer=text), ReplyRequested)
    test.then_reply(contains=("Please answer yes or no.", f"Address: {ADDRESS}", QUESTION[Status.WAITING_CONFIRMATION]))
    test.then_status(Status.WAITING_CONFIRMATION)


def test_a_yes_before_the_summary_orders_nothing() -> None:
    for status in (Status.WAITING_ADDRESS, Status.WAITING_PHONE, Status.WAITING_QUANTITY):
        at(status).when("yes").then(AnswerRejected, ReplyRequested).then_status(status)


def test_what_a_client_writes_is_never_read_as_a_template() -> None:
    test = conversation_test(EXAMPLE).given("hi", "{phone} {0} %s \\1 road", PHONE).when("3")
    test.then_reply(contains="Address: {phone} {0} %s \\1 road\n")


def test_after_an_order_the_next_message_starts_another() -> None:
    test = at(Status.WAITING_CONFIRMATION).given("yes").then_status(Status.COMPLETED)
    test.when("hello").then(ConversationStarted, ReplyRequested).then_status(Status.WAITING_ADDRESS)
    assert (test.state.address, test.state.phone, test.state.order_id) == (None, None, None)


def test_two_orders_have_two_numbers() -> None:
    test = at(Status.WAITING_CONFIRMATION).given("yes", *AT[Status.WAITING_CONFIRMATION], "yes")
    placed = [each.data for each in test.history if isinstance(each.data, OrderPlaced)]
    assert len({each.order_number for each in placed}) == len({each.order_id for each in placed}) == 2


@everywhere
@pytest.mark.parametrize("word", ["cancel", "Cancel!", "/cancel", "отмена", "Отменить"])
def test_cancel_cancels_anywhere(status: Status, word: str) -> None:
    test = at(status).when(word).then(OrderCancelled(reason="client"), ReplyRequested)
    test.then_status(Status.CANCELLED).then_reply(contains="Your order is cancelled.")
    test.when("hello").then(ConversationStarted, ReplyRequested)


@everywhere
@pytest.mark.parametrize("word", ["restart", "/restart", "Start  over", "заново"])
def test_restart_begins_again_anywhere(status: Status, word: str) -> None:
    test = at(status).when(word).then(ConversationRestarted(), ReplyRequested)
    test.then_status(Status.WAITING_ADDRESS)
    test.then_reply(equals=f"Let us begin again.\n\n{QUESTION[Status.WAITING_ADDRESS]}")
    assert (test.state.address, test.state.phone, test.state.quantity) == (None, None, None)


@everywhere
@pytest.mark.parametrize("word", ["help", "HELP!", "/help", "?", "помощь"])
def test_help_explains_and_asks_again_anywhere(status: Status, word: str) -> None:
    test = at(status).when(word).then(ReplyRequested).then_status(status)
    test.then_reply(contains=("Write 'back' to change the last answer", QUESTION[status]))


@pytest.mark.parametrize("word", ["back", "Back.", "/back", "назад"])
def test_back_returns_to_the_question_before(word: str) -> None:
    test = at(Status.WAITING_CONFIRMATION)
    for question, status in (
        ("quantity", Status.WAITING_QUANTITY),
        ("phone", Status.WAITING_PHONE),
        ("address", Status.WAITING_ADDRESS),
    ):
        test.when(word).then(AnswerWithdrawn(question=question), ReplyRequested)
        test.then_reply(equals=QUESTION[status]).then_status(status)
        assert getattr(test.state, question) is None
    test.when(word).then(ReplyRequested).then_reply(equals=QUESTION[Status.WAITING_ADDRESS])


def test_a_corrected_answer_is_the_one_that_is_ordered() -> None:
    test = at(Status.WAITING_CONFIRMATION).given("back", "7").when("yes")
    assert isinstance(test.events[0], OrderPlaced)
    assert test.events[0].lines[0].quantity == 7


@everywhere
def test_five_wrong_answers_in_a_row_ask_for_a_person_and_then_the_bot_is_silent(status: Status) -> None:
    test = at(status).given(*["-"] * 4).then_status(status)
    test.when("-").then(AnswerRejected, HandoffRequested(reason="too_many_wrong_answers"), ReplyRequested)
    test.then_reply(contains="A colleague will write to you here soon.").then_status(Status.HANDED_OFF)
    for text in ("hello?", ADDRESS, "yes", "cancel", "help"):
        test.when(text).then(MessageDeferred()).then_no_reply()
    test.when("restart").then(ConversationRestarted(), ReplyRequested).then_status(Status.WAITING_ADDRESS)


def test_a_right_answer_between_starts_the_count_anew() -> None:
    test = at(Status.WAITING_PHONE).given(*["-"] * 4, PHONE, *["-"] * 4).then_status(Status.WAITING_QUANTITY)
    test.when("help").when("-").then_status(Status.HANDED_OFF)


def test_the_number_of_wrong_answers_is_the_projects() -> None:
    at(Status.WAITING_PHONE, wrong_answers_max=1).when("-").then_status(Status.HANDED_OFF)


def test_a_long_wrong_answer_is_kept_in_part() -> None:
    [rejected, _] = at(Status.WAITING_PHONE).when("9" * 4000).events
    assert isinstance(rejected, AnswerRejected)
    assert len(rejected.answer) == 200
