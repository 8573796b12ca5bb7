"""The flow store, rule by rule: from a greeting to an order, and every command on the way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatledger.conversation import Status
from chatledger.events.cart import CartKept, ChoiceAsked, DiscountApplied, ItemRemoved, ItemsAdded, ItemsRefused
from chatledger.events.dialog import (
    AnswerRejected,
    CancellationRequested,
    ClientOptedIn,
    ClientOptedOut,
    ConversationRestarted,
    ConversationStarted,
    HandoffRequested,
    MessageDeferred,
    OrderCancelled,
    OrderPlaced,
    ReplyRequested,
    TimerRequested,
)
from chatledger.events.ids import derive_id, order_number
from chatledger.events.orders import Discount, OrderLine
from chatledger.replay import fold
from chatledger.testing import START, conversation_test
from tests.unit.projects_at_hand import STORE, product, store, store_variant
from tests.unit.store_given import CLIENT, after_order, at_store, in_cart, placed_in, shop_of

WELCOME = "Welcome! Send me what you need, one item per line or separated by commas, for example:\nCement x 10\n"
SUMMARY = "Cement (bag): 100 × ₹50 = ₹5,000\nTotal: ₹5,000\nConfirm? 1=Yes, 2=No"
HOUR, DAY = timedelta(hours=1), timedelta(hours=24)
CEMENT = OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, sku="CEM-50", unit="bag", tax_bp=2_800)


@pytest.mark.parametrize("text", ["Hi", "hello!", "Namaste", "", "👍", "1", "no", "what do you sell?", "🧱", "नमस्ते जी"])
def test_whatever_begins_a_conversation_without_a_list_is_welcomed(text: str) -> None:
    test = at_store().when(text)
    started = ConversationStarted(flow="store", language="en")
    test.then(started, ReplyRequested, TimerRequested(kind="expiry", due=START + DAY))
    test.then_reply(contains=WELCOME).then_status(Status.SHOPPING)


def test_a_list_is_added_up_and_asked_to_be_confirmed() -> None:
    test = at_store("Hi").when("Cement x 100")
    due = test.history[-1].time + HOUR
    test.then(ItemsAdded(items=(CEMENT,)), ReplyRequested, TimerRequested(kind="cart", due=due))
    test.then_reply(equals=SUMMARY).then_status(Status.WAITING_CONFIRMATION)


def test_a_list_can_be_the_first_thing_said() -> None:
    test = at_store().when("Cement x 100").then_reply(equals=SUMMARY)
    test.then(ConversationStarted, ItemsAdded, ReplyRequested, TimerRequested, TimerRequested)


@pytest.mark.parametrize("text", ["Thanks", "thank you!", "🙏"])
def test_thanks_are_no_wrong_answer(text: str) -> None:
    after_order().when(text).then(ReplyRequested).then_reply(equals="You are welcome!").then_status(Status.COMPLETED)
    at_store("Hi", "Cement x 100").when(text).then_reply(equals=f"You are welcome!\n\n{SUMMARY}")


def test_a_polite_no_leaves_the_cart_as_it_is() -> None:
    at_store("Hi", "Cement x 100").when("No thanks").then(CartKept, ReplyRequested)


def test_a_further_list_extends_the_cart() -> None:
    test = at_store("Hi", "Cement x 60").when("steel rod 12mm - 2, cement 40")
    test.then_reply(
        equals="Cement (bag): 100 × ₹50 = ₹5,000\nSteel rod 12mm (piece): 2 × ₹550 = ₹1,100\n"
        "Total: ₹6,100\nConfirm? 1=Yes, 2=No"
    )


def test_what_cannot_be_taken_is_named_and_the_rest_is_kept() -> None:
    test = at_store("Hi").when("cement 100, unobtainium 5, white paint 4 l, steel rod 16mm 41, sand 2.5")
    test.then(ItemsAdded, ItemsRefused, ReplyRequested, TimerRequested)
    test.then_reply(
        equals="I did not find “unobtainium 5” in what we sell.\n"
        "White paint 4 l is out of stock.\n"
        "Steel rod 16mm: we have only 40 in stock.\n"
        "“sand 2.5”: how many of River sand (kg)? Please write a whole number from 1 to 10000.\n\n" + SUMMARY
    )


@pytest.mark.parametrize("text", ["1", "yes", "Yes!", "ok", "confirm", "👍"])
def test_a_yes_places_the_order_and_leaves_the_answer_to_billing(text: str) -> None:
    test = at_store("Hi", "Cement x 100").when(text)
    order_id = derive_id(derive_id("test", f"store/twilio/{CLIENT}", 3), "order")
    placed = OrderPlaced(
        order_id=order_id,
        order_number=order_number(order_id),
        lines=(CEMENT,),
        currency="INR",
        address="",
        phone=CLIENT,
        discounts=(),
        tax_inclusive=True,
    )
    test.then(placed).then_status(Status.COMPLETED)
    assert in_cart(test) == {}


def test_a_client_id_that_is_no_phone_number_is_no_phone() -> None:
    test = conversation_test(STORE, client="user-7").given("Cement x 1", "1")
    assert placed_in(test).phone == ""


def test_a_second_yes_orders_nothing() -> None:
    test = after_order().when("1").then(ReplyRequested)
    test.then_reply(contains=f"Your order {placed_in(test).order_number} is placed.")


@pytest.mark.parametrize("text", ["1", "yes", "2", "no", "cart", "cancel", "code BUILD5"])
def test_without_a_cart_there_is_nothing_to_answer(text: str) -> None:
    at_store("Hi").when(text).then(ReplyRequested).then_reply(contains="Your cart is empty. Send me a list such as:")


def test_a_no_keeps_the_cart_which_can_be_changed_confirmed_or_emptied() -> None:
    test = at_store("Hi", "Cement x 100").when("2").then(CartKept(), ReplyRequested).then_status(Status.SHOPPING)
    test.then_reply(contains="Your cart stays as it is.")
    test.when("cart").then(ReplyRequested).then_reply(equals=SUMMARY)
    test.when("sand 5").then_status(Status.WAITING_CONFIRMATION)
    test.given("2").when("1").then(OrderPlaced)


def test_cancel_empties_the_cart_and_the_next_list_begins_anew() -> None:
    test = at_store("Hi", "Cement x 100").when("cancel").then(OrderCancelled(reason="client"), ReplyRequested)
    test.then_status(Status.CANCELLED).then_reply(contains="Your cart is empty now.")
    test.when("sand 5").then(ConversationStarted, ItemsAdded, ReplyRequested, TimerRequested)
    assert in_cart(test) == {"SAND-R": 5}


def test_after_an_order_a_greeting_begins_anew_and_a_question_does_not() -> None:
    after_order().when("status").then(ReplyRequested).then_status(Status.COMPLETED)
    after_order().when("hello").then(ConversationStarted, ReplyRequested).then_status(Status.SHOPPING)


def test_an_item_is_removed_by_its_name() -> None:
    test = at_store("Hi", "Cement x 100, sand 5").when("remove sand").then(ItemRemoved(sku="SAND-R"), ReplyRequested)
    test.then_reply(equals=f"River sand is out of your cart.\n\n{SUMMARY}").then_status(Status.WAITING_CONFIRMATION)
    test.when("Remove cemnt").then(ItemRemoved(sku="CEM-50"), ReplyRequested).then_status(Status.SHOPPING)
    test.then_reply(equals="Cement is out of your cart.")


def test_some_of_an_item_are_removed_at_the_price_that_they_had() -> None:
    test = at_store("Hi", "sand 5, Cement x 100")
    test.project = store_variant(store=store(catalogue=[product("CEM-50", price="60.00")]))
    test.when("remove 20 cement").then(ItemRemoved, ItemsAdded, ReplyRequested)
    test.then_reply(contains="Cement (bag): 80 × ₹50 = ₹4,000")
    test.when("remove cement 80").then(ItemRemoved, ReplyRequested)
    assert in_cart(test) == {"SAND-R": 5}


def test_what_is_not_in_the_cart_or_not_clear_is_not_removed() -> None:
    test = at_store("Hi", "steel rod 10mm 5, steel rod 12mm 5")
    test.when("remove cement").then(ReplyRequested).then_reply(contains="“cement” is not in your cart.")
    test.when("remove rod").then(ReplyRequested).then_reply(contains="There are several “rod” in your cart.")
    test.when("remove rod 12mm").then(ItemRemoved(sku="ROD-12"), ReplyRequested)


def test_what_the_catalogue_has_no_more_can_be_removed_by_its_name() -> None:
    test = at_store("Hi", "sand 5, cement 100")
    test.project = store_variant(store=store(catalogue=[product("CEM-50")]))
    test.when("remove river sand").then(ItemRemoved(sku="SAND-R"), ReplyRequested)


def test_a_code_is_taken_off_and_is_in_the_order() -> None:
    test = at_store("Hi", "Cement x 100").when("code build5").then(DiscountApplied(code="BUILD5"), ReplyRequested)
    test.then_reply(
        equals="Builder's 5 %: your discount is taken off.\n\nCement (bag): 100 × ₹50 = ₹5,000\n"
        "Subtotal: ₹5,000\nDiscount (Builder's 5 %): −₹250\nTotal: ₹4,750\nConfirm? 1=Yes, 2=No"
    )
    assert placed_in(test.given("1")).discounts == (Discount(name="Builder's 5 %", percent_bp=500),)
    test.when("Cement x 100").then_reply(equals=SUMMARY)


def test_codes_cannot_be_tried_for_ever() -> None:
    test = (
        at_store("Hi", "Cement x 100")
        .when("code FREE")
        .then(AnswerRejected(question="code", reason="unknown_code", answer="FREE"), ReplyRequested)
    )
    test.then_reply(equals=f"I do not know the code “FREE”.\n\n{SUMMARY}")
    test.given("code A", "code B", "code C").when("code D").then(AnswerRejected, HandoffRequested, ReplyRequested)


def test_a_discount_for_everybody_and_exclusive_tax_are_in_the_summary() -> None:
    changed = store(tax_inclusive=False, discounts=[{"name": "Sale", "percent": 10}])
    at_store("Hi", project=store_variant(store=changed)).when("Cement x 100").then_reply(
        equals="Cement (bag): 100 × ₹50 = ₹5,000\nSubtotal: ₹5,000\nDiscount (Sale): −₹500\nTax 28%: ₹1,260\n"
        "Total: ₹5,760\nConfirm? 1=Yes, 2=No"
    )


def test_stop_and_start_are_heard_at_all_times() -> None:
    test = at_store("Hi", "Cement x 1").when("STOP").then(ClientOptedOut(), ReplyRequested)
    assert test.state.opted_out
    test.when("start").then(ClientOptedIn(), ReplyRequested).then_status(Status.WAITING_CONFIRMATION)
    assert not test.state.opted_out
    test.given(HandoffRequested(reason="test")).when("stop").then(ClientOptedOut(), ReplyRequested)
    test.when("cement 5").then(MessageDeferred()).then_no_reply()
    assert at_store().when("stop").state.opted_out


def test_help_and_products_say_what_can_be_done_and_bought() -> None:
    test = at_store("Hi", "Cement x 100").when("help").then(ReplyRequested)
    test.then_reply(contains=("cancel <order>", "stop / start", SUMMARY))
    test.when("Products").then_reply(contains=("Cement, ₹50 per bag\n", "Steel rod 12mm, ₹550 per piece", "… and 3"))


def test_restart_empties_the_cart_and_welcomes() -> None:
    test = at_store("Hi", "steel rod 5, cement 1").when("restart").then(ConversationRestarted(), ReplyRequested)
    test.then_reply(contains=("Let us begin again.", WELCOME)).then_status(Status.SHOPPING)
    assert (in_cart(test), shop_of(test).choices, shop_of(test).cart_timer_due) == ({}, (), None)


@pytest.mark.parametrize(
    ("before", "text", "question", "reason"),
    [
        ("cart", "bananas", "products", "unknown_products"),
        ("cart", "", "products", "no_text"),
        ("Cement x 1", "maybe", "confirmation", "not_yes_or_no"),
        ("Cement x 1", "12", "confirmation", "not_yes_or_no"),
        ("Cement x 1", "marble x 5", "products", "unknown_products"),
        ("Cement x 1", "", "products", "no_text"),
        ("steel rod 5", "bananas", "choice", "not_a_choice"),
        ("steel rod 5", "4", "choice", "not_a_choice"),
    ],
)
def test_five_wrong_answers_in_a_row_ask_for_a_person(before: str, text: str, question: str, reason: str) -> None:
    test = at_store("Hi", before).when(text)
    rejected = [event for event in test.events if isinstance(event, AnswerRejected)]
    assert rejected == [AnswerRejected(question=question, reason=reason, answer=text)]
    test.given(text, text, text).when(text).then_status(Status.HANDED_OFF)
    test.then_reply(contains="A colleague will write to you here soon.")
    test.when("Cement x 5").then(MessageDeferred()).then_no_reply()
    test.when("restart").then(ConversationRestarted(), ReplyRequested)


def test_a_right_answer_between_starts_the_count_anew() -> None:
    test = at_store("Hi", "a?", "b?", "c?", "d?", "Cement x 1", "e?").then_status(Status.WAITING_CONFIRMATION)
    assert test.state.wrong_answers == 1


def test_after_a_long_silence_the_cart_is_forgotten_even_before_the_timer_comes() -> None:
    test = at_store("Hi", "Cement x 100", "steel rod").after(DAY).when("sand 5")
    test.then(ConversationStarted, ItemsAdded, ReplyRequested, TimerRequested)
    assert in_cart(test) == {"SAND-R": 5}
    assert fold(test.history) == {f"store/twilio/{CLIENT}": test.state}


def test_a_cart_holds_so_many_products_and_so_much_of_one() -> None:
    small = store_variant(store=store(cart_lines_max=2, quantity_max=100))
    test = at_store("Hi", "Cement x 60, sand 1", project=small).when("red brick 5, cement 41, cement 40")
    refused = [line for event in test.events if isinstance(event, ItemsRefused) for line in event.lines]
    assert [(line.reason, line.text) for line in refused] == [("cart_full", "red brick 5"), ("quantity", "cement 41")]
    assert in_cart(test) == {"CEM-50": 100, "SAND-R": 1}


def test_what_was_sold_out_in_the_meantime_is_not_ordered() -> None:
    test = at_store("Hi", "Cement x 100, sand 5, nails 3 inch 2 kg")
    test.project = store_variant(store=store(catalogue=[product("CEM-50", stock=99), product("SAND-R")]))
    test.when("1").then(ItemRemoved(sku="CEM-50"), ItemRemoved(sku="NAIL-3"), ItemsRefused, ReplyRequested)
    test.then_reply(contains=("Cement: we have only 99 in stock.", "“Nails 3 inch”", "River sand (kg): 5"))
    test.when("1").then(OrderPlaced)
    assert [line.sku for line in placed_in(test).lines] == ["SAND-R"]


def test_the_order_has_the_prices_that_the_client_saw() -> None:
    test = at_store("Hi", "Cement x 100")
    test.project = store_variant(store=store(catalogue=[product("CEM-50", price="60.00")]))
    assert placed_in(test.given("1")).lines == (CEMENT,)


def test_a_client_can_only_cancel_what_is_theirs() -> None:
    other = placed_in(conversation_test(STORE, client="+919900000002").given("Cement x 1", "1")).order_number
    after_order().when(f"cancel {other}").then(ReplyRequested).then_reply(contains="I do not know an order")


def test_an_order_is_cancelled_by_its_number_however_it_is_written() -> None:
    test = after_order()
    order = placed_in(test)
    number = order.order_number
    requested = CancellationRequested(order_id=order.order_id, order_number=number)
    spoken = number.replace("0", "O").replace("1", "l").replace("-", " ").lower()
    for written in (number, number.lower(), number.replace("-", ""), f"order #{spoken}", f" my order  {spoken} "):
        test.when(f"cancel {written}").then(requested, ReplyRequested)
        test.then_reply(contains=f"I have asked for order {number} to be cancelled.")
    test.when("cancel").then(ReplyRequested).then_reply(contains=f"such as: cancel {number}")


def test_cancel_and_the_name_of_something_in_the_cart_takes_it_out() -> None:
    at_store("Hi", "Cement x 5, sand 5").when("cancel cement").then(ItemRemoved(sku="CEM-50"), ReplyRequested)


def test_repeat_fills_the_cart_at_todays_prices_as_far_as_there_is_stock() -> None:
    at_store("Hi").when("repeat").then(ReplyRequested).then_reply(contains="no order yet that could be repeated")
    test = at_store("Hi", "cement 10, sand 5, red brick 7", "1")
    test.project = store_variant(store=store(catalogue=[product("CEM-50", price="60.00"), product("BRICK-R", stock=0)]))
    test.when("repeat").then(ConversationStarted, ItemsAdded, ItemsRefused, ReplyRequested, TimerRequested)
    test.then_reply(contains=("Red brick is out of stock.", "“River sand”", "Cement (bag): 10 × ₹60 = ₹600"))


def test_a_choice_counts_in_the_cart_timer_only_once_something_is_in_the_cart() -> None:
    test = at_store("Hi").when("steel rod 5").then(ChoiceAsked, ReplyRequested)
    test.when("1").then_status(Status.WAITING_CONFIRMATION)
    assert [event.kind for event in test.events if isinstance(event, TimerRequested)] == ["cart"]
