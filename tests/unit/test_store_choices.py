"""Where several products fit what a client wrote: which one is asked with numbers, and answered in many ways."""

from __future__ import annotations

import pytest

from chatledger.conversation import Status
from chatledger.events.cart import ChoiceAsked, ChoiceMade, ItemsAdded, ItemsRefused
from chatledger.events.dialog import AnswerRejected, OrderCancelled, OrderPlaced, ReplyRequested, TimerRequested
from chatledger.flows.store_cart import CHOICES_OPEN_MAX
from tests.unit.projects_at_hand import STORE_DOCUMENT, product, store, store_variant
from tests.unit.store_given import at_store, in_cart, shop_of

RODS = ("ROD-10", "ROD-12", "ROD-16")
WHICH_ROD = (
    "Which one do you mean by “steel rod x 20”?\n1=Steel rod 10mm, ₹385 per piece\n2=Steel rod 12mm, ₹550 per piece\n"
    "3=Steel rod 16mm, ₹985.50 per piece\n0=None of these"
)


def test_two_close_products_are_asked_about_with_numbers() -> None:
    test = at_store("Hi").when("steel rod x 20")
    test.then(ChoiceAsked(text="steel rod x 20", quantity=20, skus=RODS), ReplyRequested)
    test.then_reply(equals=WHICH_ROD).then_status(Status.WAITING_CHOICE)


@pytest.mark.parametrize(
    ("answer", "sku", "quantity"),
    [
        ("1", "ROD-10", 20),
        ("2", "ROD-12", 20),
        (" 3. ", "ROD-16", 20),
        ("#2", "ROD-12", 20),
        ("2️⃣", "ROD-12", 20),
        ("२", "ROD-12", 20),
        ("12mm", "ROD-12", 20),
        ("12 mm", "ROD-12", 20),
        ("Steel rod 16mm", "ROD-16", 20),
        ("rod-10", "ROD-10", 20),
        ("tmt 12mm", "ROD-12", 20),
        ("12mm x 7", "ROD-12", 7),
        ("steel rod 12mm - 7", "ROD-12", 7),
    ],
)
def test_an_answer_is_a_number_or_what_sets_one_apart(answer: str, sku: str, quantity: int) -> None:
    test = at_store("Hi", "steel rod x 20").when(answer)
    test.then(ChoiceMade(sku=sku), ItemsAdded, ReplyRequested, TimerRequested)
    test.then_status(Status.WAITING_CONFIRMATION).then_reply(contains="Confirm? 1=Yes, 2=No")
    assert in_cart(test) == {sku: quantity}


@pytest.mark.parametrize("answer", ["0", "none", "None of these", "no"])
def test_none_of_them_is_an_answer_too(answer: str) -> None:
    test = at_store("Hi", "steel rod x 20").when(answer).then(ChoiceMade(sku=None), ReplyRequested)
    test.then_reply(contains="All right, none of these.").then_status(Status.SHOPPING)
    filled = at_store("Hi", "Cement x 1, steel rod x 20").when(answer).then_status(Status.WAITING_CONFIRMATION)
    filled.then_reply(contains=("All right, none of these.", "Total: ₹50\nConfirm?"))


@pytest.mark.parametrize("answer", ["4", "99", "rod", "rods x 5", "bananas", "yes", ""])
def test_another_answer_is_wrong_and_the_choice_is_asked_again(answer: str) -> None:
    test = at_store("Hi", "steel rod x 20").when(answer)
    test.then(AnswerRejected(question="choice", reason="not_a_choice", answer=answer), ReplyRequested)
    test.then_reply(equals=f"Please answer with a number from 0 to 3.\n\n{WHICH_ROD}")


def test_several_choices_are_asked_one_after_another_and_then_the_cart() -> None:
    test = (
        at_store("Hi")
        .when("cement 1, rods 2, bricks 30")
        .then(ItemsAdded, ChoiceAsked, ChoiceAsked, ReplyRequested, TimerRequested)
    )
    test.then_reply(contains="Which one do you mean by “rods 2”?").then_status(Status.WAITING_CHOICE)
    test.when("2").then_reply(contains="by “bricks 30”?\n1=Red brick").then_status(Status.WAITING_CHOICE)
    test.when("1").then_reply(contains="Confirm?").then_status(Status.WAITING_CONFIRMATION)
    assert in_cart(test) == {"CEM-50": 1, "ROD-12": 2, "BRICK-R": 30}
    test.when("1").then(OrderPlaced)


def test_a_list_instead_of_an_answer_goes_into_the_cart_and_the_choice_stays() -> None:
    test = at_store("Hi", "steel rod x 20").when("cement 5, sand 2").then(ItemsAdded, ReplyRequested, TimerRequested)
    test.then_reply(equals=WHICH_ROD).then_status(Status.WAITING_CHOICE)
    test.when("remove sand").then_status(Status.WAITING_CHOICE)
    test.when("2")
    assert in_cart(test) == {"CEM-50": 5, "ROD-12": 20}


def test_commands_work_while_a_choice_is_open() -> None:
    test = at_store("Hi", "steel rod x 20").when("help").then_reply(contains=WHICH_ROD)
    test.when("cart").then_reply(equals=WHICH_ROD)
    test.when("hi").then_reply(contains=("Welcome!", WHICH_ROD))
    test.when("cancel").then(OrderCancelled, ReplyRequested).then_status(Status.CANCELLED)
    assert shop_of(test).choices == ()


def test_the_chosen_product_can_be_out_of_stock_or_gone() -> None:
    test = at_store("Hi", "white paint x 2").when("2").then(ChoiceMade, ItemsRefused, ReplyRequested)
    test.then_reply(equals="White paint 4 l is out of stock.").then_status(Status.SHOPPING)
    gone = at_store("Hi", "steel rod x 2")
    gone.project = store_variant(store=store(catalogue=[product("ROD-10"), product("ROD-16")]))
    gone.when("2").then(ChoiceMade(sku=None), ItemsRefused, ReplyRequested)
    gone.then_reply(equals="I did not find “steel rod x 2” in what we sell.")


def test_only_so_many_choices_wait_for_an_answer() -> None:
    test = at_store("Hi").when(", ".join(f"rods {number}" for number in range(1, CHOICES_OPEN_MAX + 4)))
    assert len(shop_of(test).choices) == CHOICES_OPEN_MAX
    [refused] = [event for event in test.events if isinstance(event, ItemsRefused)]
    assert [line.reason for line in refused.lines] == ["cart_full"] * 3


def test_the_margin_within_which_is_asked_is_the_projects() -> None:
    catalogue = [product("CEM-50", name="Castor wheel"), product("SAND-R", name="Caster wheal", aliases=None)]
    for margin, asked in ((50, 2), (0, 0)):
        changed = store_variant(store=store(catalogue=catalogue, match_margin=margin))
        test = at_store("Hi", project=changed).when("castor whel x 5")
        assert [len(event.skus) for event in test.events if isinstance(event, ChoiceAsked)] == [asked] * bool(asked)


def test_how_alike_a_name_must_be_is_the_projects() -> None:
    strict = store_variant(store=STORE_DOCUMENT["store"] | {"match_threshold": 100})
    assert in_cart(at_store("Hi", "cemnt 5", project=strict)) == {}
    assert in_cart(at_store("Hi", "cemnt 5")) == {"CEM-50": 5}
