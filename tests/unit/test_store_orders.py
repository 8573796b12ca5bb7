"""A store's orders after they were placed: what billing, outreach and the clock tell, and what the client hears."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chatledger.conversation import Status
from chatledger.events.cart import CartAbandoned, ChoiceMade
from chatledger.events.dialog import (
    CancellationRequested,
    ConversationExpired,
    InvoiceNoted,
    NoticeDecided,
    OrderNoted,
    OrderPlaced,
    ReplyRequested,
    TimerRequested,
)
from chatledger.events.inbound import NoticeDue
from chatledger.shop import ORDERS_REMEMBERED_MAX
from chatledger.testing import ConversationTest
from tests.unit.projects_at_hand import store, store_variant
from tests.unit.store_given import (
    CLIENT,
    after_order,
    at_store,
    invoice_of,
    invoice_reported,
    order_reported,
    placed_in,
    shop_of,
)

HOUR = timedelta(hours=1)


def replies(test: ConversationTest) -> list[ReplyRequested]:
    return [event for event in test.events if isinstance(event, ReplyRequested)]


def invoiced() -> ConversationTest:
    test = after_order()
    return test.when_told(invoice_reported(test))


def test_an_issued_invoice_confirms_the_order_and_comes_as_a_message_of_its_own() -> None:
    test = after_order()
    heard_at = test.state.last_message_at
    test.when_told(order_reported(test, "confirmed")).then(OrderNoted).then_no_reply()
    test.when_told(invoice_reported(test)).then(InvoiceNoted, ReplyRequested, ReplyRequested)
    confirmed, invoice = replies(test)
    assert confirmed.text == "Order confirmed! Invoice sent."
    assert invoice.text == (
        f"Invoice INV-2026-000123\nOrder {placed_in(test).order_number}, 5 Jan 2026\n"
        "Cement (bag): 100 × ₹50 = ₹5,000\nTotal: ₹5,000\nTax 28% included: ₹1,093.75\nDue: 19 Jan 2026"
    )
    assert (confirmed.purpose, invoice.purpose) == ("order_update", "invoice")
    for reply in (confirmed, invoice):
        assert (reply.channel, reply.client_id, reply.reply_to) == ("twilio", CLIENT, {})
        assert reply.last_message_at == heard_at == test.state.last_message_at
    assert invoice.template is not None
    assert invoice.template.variables == {
        "number": "INV-2026-000123",
        "total": "₹5,000",
        "paid": "₹0",
        "balance": "₹5,000",
        "due": "19 Jan 2026",
    }


def test_an_order_with_an_invoice_is_confirmed_though_nobody_says_so() -> None:
    test = after_order()
    test.when_told(invoice_reported(test)).when("status").then_reply(contains=": confirmed")
    test.when("1").then_reply(contains="Your cart is empty.")
    test.when_told(order_reported(test, "shipped")).when_told(invoice_reported(test, "payment.recorded"))
    test.when("status").then_reply(contains=": on its way")


def test_what_billing_tells_twice_is_said_once() -> None:
    invoiced().when_repeated().then_nothing()
    test = after_order()
    test.when_told(order_reported(test, "shipped")).then(OrderNoted, ReplyRequested)
    test.when_told(order_reported(test, "shipped")).then(OrderNoted).then_no_reply()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("processing", "We are preparing your order {}."),
        ("shipped", "Your order {} is on its way."),
        ("delivered", "Your order {} is delivered. Thank you!"),
        ("cancelled", "Your order {} is cancelled."),
    ],
)
def test_the_client_hears_how_the_order_goes_on(status: str, said: str) -> None:
    test = after_order()
    number = placed_in(test).order_number
    test.when_told(order_reported(test, status)).then(OrderNoted, ReplyRequested)
    test.then_reply(equals=said.format(number))
    [reply] = replies(test)
    assert (reply.purpose, reply.last_message_at) == ("order_update", test.state.last_message_at)
    assert shop_of(test).orders[-1].status == status


@pytest.mark.parametrize("status", ["draft", "confirmed", "something new"])
def test_other_statuses_are_noted_in_silence(status: str) -> None:
    test = after_order()
    test.when_told(order_reported(test, status)).then(OrderNoted).then_no_reply()
    test.when("status").then_reply(contains=f"Order {placed_in(test).order_number}: ")


def test_a_refused_cancellation_says_why() -> None:
    test = after_order()
    number = placed_in(test).order_number
    test.when(f"cancel {number}").then(CancellationRequested, ReplyRequested)
    test.when_told(order_reported(test, "shipped", refused="shipped orders are not cancelled"))
    test.then(OrderNoted, ReplyRequested)
    test.then_reply(equals=f"Order {number} cannot be cancelled: it is on its way.")


@pytest.mark.parametrize(("status", "name"), [("shipped", "on its way"), ("delivered", "delivered")])
def test_an_order_that_left_cannot_be_cancelled(status: str, name: str) -> None:
    test = after_order()
    number = placed_in(test).order_number
    test.when_told(order_reported(test, status)).when(f"cancel {number}").then(ReplyRequested)
    test.then_reply(equals=f"Order {number} cannot be cancelled: it is {name}.")
    test.when("cancel").then_reply(contains="Your cart is empty. Send me a list")


def test_an_order_that_is_not_the_conversations_is_told_of_all_the_same() -> None:
    test, other = at_store("Hi"), after_order()
    test.when_told(order_reported(other, "shipped")).then(OrderNoted, ReplyRequested)
    at_store().when_told(order_reported(other, "shipped")).then(OrderNoted, ReplyRequested)


def test_status_tells_of_the_newest_orders_first() -> None:
    at_store("Hi").when("status").then_reply(equals="You have no orders yet.")
    test = after_order("sand 5", "1")
    older, newer = [each.data.order_number for each in test.history if isinstance(each.data, OrderPlaced)]
    test.when_told(order_reported(test, "processing")).when("status").then(ReplyRequested)
    test.then_reply(equals=f"Order {newer}: being prepared\nOrder {older}: placed")


def test_ten_orders_are_remembered() -> None:
    test = at_store("Hi", *["Cement x 1", "yes"] * (ORDERS_REMEMBERED_MAX + 2))
    assert len(shop_of(test).orders) == ORDERS_REMEMBERED_MAX
    assert [bool(order.lines) for order in shop_of(test).orders] == [False] * (ORDERS_REMEMBERED_MAX - 1) + [True]


def test_a_payment_is_told_with_what_is_left() -> None:
    test = invoiced()
    test.when_told(invoice_reported(test, "payment.recorded", paid_minor=200_000, status="partly_paid"))
    test.then(InvoiceNoted, ReplyRequested).then_reply(
        equals="Thank you! We have received ₹2,000 of ₹5,000 for invoice INV-2026-000123. Balance: ₹3,000."
    )
    assert replies(test)[0].purpose == "invoice"
    test.when("invoice").then_reply(contains=("Paid: ₹2,000\nBalance: ₹3,000\nDue: 19 Jan 2026",))


def test_the_last_payment_is_told_once() -> None:
    test = invoiced()
    test.when_told(invoice_reported(test, "payment.recorded", paid_minor=500_000, status="paid"))
    test.then(InvoiceNoted, ReplyRequested).then_reply(
        equals="Thank you! Invoice INV-2026-000123 is paid in full (₹5,000)."
    )
    test.when_told(invoice_reported(test, "invoice.paid", paid_minor=500_000, status="paid")).then(InvoiceNoted)
    test.when("invoice").then(ReplyRequested)
    assert "Due" not in test.replies[0]


def test_a_refund_and_a_void_invoice_are_told_plainly() -> None:
    test = invoiced()
    test.when_told(invoice_reported(test, "payment.refunded", paid_minor=100_000, status="partly_paid"))
    test.then_reply(equals="We have sent you money back for invoice INV-2026-000123. Of ₹5,000, ₹1,000 is paid now.")
    test.when_told(invoice_reported(test, "invoice.voided", status="void"))
    test.then_reply(equals="Invoice INV-2026-000123 is void: it need not be paid.")
    test.when("invoice").then_reply(contains="This invoice is void and need not be paid.")
    assert "Due" not in test.replies[0]


def test_the_invoice_that_is_sent_again_is_the_newest() -> None:
    at_store("Hi").when("invoice").then_reply(equals="You have no invoice yet.")
    test = invoiced()
    first = invoice_of(placed_in(test))
    test.given("sand 5", "1")
    second = invoice_reported(test)
    second = replace(second, invoice=replace(second.invoice, number="INV-2026-000124"))
    test.when_told(second).when("invoice").then_reply(contains="Invoice INV-2026-000124")
    paid = replace(second, because="payment.recorded", invoice=replace(first, paid_minor=100))
    test.when_told(paid).when("invoice").then_reply(contains="Invoice INV-2026-000124")


def test_a_cart_that_was_left_for_an_hour_is_abandoned_once() -> None:
    test = at_store("Hi", "Cement x 100").when_timer_fires(kind="cart")
    test.then(CartAbandoned(items=1, total_minor=500_000, currency="INR")).then_no_reply()
    assert shop_of(test).abandoned
    test.then_status(Status.WAITING_CONFIRMATION).when("help").then(ReplyRequested)
    test.when("sand 5")
    assert test.events[-1] == TimerRequested(kind="cart", due=test.history[-1].time + HOUR)


def test_a_cart_that_was_changed_in_the_meantime_waits_for_the_rest_of_the_hour() -> None:
    test = at_store("Hi", "Cement x 100").after(timedelta(minutes=40)).when("sand 5")
    changed_at = test.history[-1].time
    assert not [event for event in test.events if isinstance(event, TimerRequested)]
    test.when_timer_fires(kind="cart").then(TimerRequested(kind="cart", due=changed_at + HOUR)).then_no_reply()
    test.when_timer_fires(kind="cart").then(CartAbandoned)


@pytest.mark.parametrize("end", ["1", "cancel", "restart", "remove cement"])
def test_the_timer_of_a_cart_that_is_gone_does_nothing(end: str) -> None:
    test = at_store("Hi", "Cement x 100")
    due = shop_of(test).cart_timer_due
    test.given(end).when_timer_fires(kind="cart", due=due).then_nothing()
    test.when("sand 5").when_timer_fires(kind="cart", due=due).then_nothing()
    test.when_timer_fires(kind="cart").then(CartAbandoned)


def test_how_long_a_cart_may_be_left_is_the_projects() -> None:
    test = at_store("Hi", "Cement x 1", project=store_variant(store=store(abandoned_after_minutes=5)))
    assert shop_of(test).cart_timer_due == test.history[-1].time + timedelta(minutes=5)


def test_a_silent_session_ends_and_its_orders_and_its_opt_out_stay() -> None:
    test = after_order("stop", "cement 5").when_timer_fires(late=timedelta(minutes=1)).then(ConversationExpired)
    assert (shop_of(test).cart, len(shop_of(test).orders), test.state.opted_out) == ((), 1, True)


def test_what_is_told_does_not_count_as_heard_from_the_client() -> None:
    test = after_order()
    before = test.state.last_message_at
    test.after(timedelta(hours=30)).when_told(order_reported(test, "shipped"))
    assert (test.state.last_message_at, replies(test)[0].last_message_at) == (before, before)


def test_a_notice_of_an_abandoned_cart_is_withheld_once_it_is_ordered() -> None:
    notice = NoticeDue(
        regarding="reminder-1", purpose="cart_abandoned", promotional=False, text="Still there?", variables={}
    )
    at_store("Hi", "Cement x 1").when_told(notice).then(NoticeDecided, ReplyRequested)
    withheld = NoticeDecided(regarding="reminder-1", purpose="cart_abandoned", withheld="no_cart")
    after_order().when_told(notice).then(withheld).then_no_reply()


def test_a_reminder_of_the_cart_takes_the_place_of_an_older_question() -> None:
    notice = NoticeDue(
        regarding="reminder-1", purpose="cart_abandoned", promotional=False, text="Write 1 to order.", variables={}
    )
    test = at_store("Hi", "Cement x 1, steel rod x 20, bricks 30").then_status(Status.WAITING_CHOICE)
    test.when_told(notice).then(NoticeDecided, ChoiceMade(sku=None), ChoiceMade(sku=None), ReplyRequested)
    test.then_status(Status.WAITING_CONFIRMATION).when("1").then(OrderPlaced)
    assert [line.sku for line in placed_in(test).lines] == ["CEM-50"]
