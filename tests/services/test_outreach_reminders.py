"""Reminders through the whole service: planned by events, sent once and at their time, not when the reason is gone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.events import cart, deliveries, dialog, inventory, orders, outreach
from chatledger.events.cart import RefusalReason
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import NoticeDue
from chatledger.topics import BILLING, DIALOG, INBOUND, INVENTORY, NOTIFY, OUTREACH
from tests.support.outreach import (
    CLIENT,
    NOW,
    Line,
    abandoned,
    eventually,
    handled,
    invoice,
    order,
    pass_time,
    rows,
    told,
    with_terms,
    worker,
)

pytestmark = pytest.mark.postgres
DUE_ON = date(2026, 12, 5)
DAY_BEFORE_AT_TEN = datetime(2026, 12, 4, 4, 30, tzinfo=UTC)
"""Ten o'clock in India, where the client's phone number is from."""


async def test_a_payment_reminder_is_sent_the_day_before_it_is_due_in_the_clients_time(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(DIALOG, told(dialog.ConversationStarted(flow="store", language="en")))
        line.tell(BILLING, invoice(due_on=DUE_ON))
        await eventually(lambda: line.on(OUTREACH), "it is scheduled")
        pass_time(service, clock, DAY_BEFORE_AT_TEN - NOW - timedelta(seconds=1))
        assert await service.sweep.once() == 0
        pass_time(service, clock, timedelta(minutes=1))
        await eventually(lambda: line.on(INBOUND, NoticeDue), "the conversation is told")
        [notice] = line.on(INBOUND, NoticeDue)
        [scheduled, due] = line.on(OUTREACH)
        line.tell(NOTIFY, sent(due.stream))
        await eventually(lambda: line.on(OUTREACH, outreach.ReminderSent), "it is known to be sent")
    [plan], [said] = line.data(OUTREACH, outreach.ReminderScheduled), line.data(INBOUND, NoticeDue)
    assert (plan.kind, plan.about, plan.due) == ("PAYMENT_DUE", "inv-1", DAY_BEFORE_AT_TEN)
    assert said.text == (
        "A friendly reminder: invoice INV-2026-000001 for ₹5,000 is due on 5 Dec 2026. "
        "If you have paid already, thank you!"
    )
    assert (said.regarding, said.purpose, said.promotional, said.about) == (due.stream, "payment_due", False, "inv-1")
    assert [each.notice_id for each in line.data(OUTREACH, outreach.ReminderDue)] == [notice.id]
    assert said.variables["number"] == "INV-2026-000001"
    assert (notice.conversation, notice.stream_version, notice.causation_id) == (CLIENT, None, due.id)
    assert [each.stream_version for each in line.on(OUTREACH)] == [1, 2, 3]
    assert {each.correlation_id for each in (scheduled, due, notice)} == {scheduled.correlation_id}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (orders.InvoicePaid(invoice_id="inv-1"), "paid"),
        (orders.InvoiceVoided(invoice_id="inv-1", credit_note="CN-1", reason="wrong"), "void"),
    ],
)
async def test_a_payment_reminder_is_not_sent_when_there_is_nothing_to_pay_any_more(postgres_url, end, reason):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(BILLING, invoice(due_on=DUE_ON), invoice(due_on=DUE_ON, id="inv-2"))
        line.tell(BILLING, told(end, time=NOW + timedelta(days=3), stream="invoice-inv-1", number=2))
        await eventually(lambda: line.on(OUTREACH, outreach.ReminderCancelled), "it is cancelled")
        pass_time(service, clock, timedelta(days=30))
        await eventually(lambda: line.on(INBOUND, NoticeDue), "the other one is sent")
        assert await rows(service, "SELECT about, status FROM outreach.reminders ORDER BY about") == [
            ("inv-1", "cancelled"),
            ("inv-2", "due"),
        ]
    [cancelled] = line.on(OUTREACH, outreach.ReminderCancelled)
    assert cancelled.time == NOW + timedelta(days=3)
    assert line.data(OUTREACH, outreach.ReminderCancelled)[0].reason == reason
    assert [each.about for each in line.data(INBOUND, NoticeDue)] == ["inv-2"]


async def test_what_was_due_while_the_service_was_away_is_sent_when_it_is_back(postgres_url):
    line = Line()
    line.tell(BILLING, invoice(due_on=date(2026, 11, 5), time=NOW - timedelta(days=30)))
    async with worker(postgres_url, line):
        await eventually(lambda: line.on(INBOUND, NoticeDue), "it is due at once")
    [scheduled] = line.data(OUTREACH, outreach.ReminderScheduled)
    assert scheduled.due == datetime(2026, 11, 4, 4, 30, tzinfo=UTC)


async def test_an_invoice_that_is_due_sooner_than_the_day_before_is_reminded_of_on_its_day(postgres_url):
    line = Line()
    line.tell(BILLING, invoice(due_on=date(2026, 11, 22)), invoice(due_on=date(2026, 11, 21), id="inv-2"))
    async with worker(postgres_url, line) as service:
        await handled(service, line)
        await eventually(lambda: line.on(OUTREACH), "one is scheduled")
    [scheduled] = line.data(OUTREACH, outreach.ReminderScheduled)
    assert (scheduled.about, scheduled.due) == ("inv-1", datetime(2026, 11, 22, 4, 30, tzinfo=UTC))


async def test_in_the_quiet_hours_a_reminder_waits_until_they_end(postgres_url):
    late = datetime(2026, 11, 21, 18, tzinfo=UTC)  # half past eleven at night in India
    line, clock = Line(), ManualClock(late)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(DIALOG, abandoned(time=late))
        await eventually(lambda: line.on(OUTREACH, outreach.ReminderPostponed), "it is put off")
        assert line.on(INBOUND) == []
        pass_time(service, clock, timedelta(hours=9))
        await eventually(lambda: line.on(INBOUND, NoticeDue), "it is sent in the morning")
    [postponed] = line.data(OUTREACH, outreach.ReminderPostponed)
    assert postponed.due == datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
    assert [each.data.type for each in line.on(OUTREACH)] == [
        "reminder.scheduled",
        "reminder.postponed",
        "reminder.due",
    ]


@pytest.mark.parametrize(
    "end",
    [
        dialog.OrderCancelled(reason="client"),
        dialog.ConversationRestarted(),
        cart.ItemsAdded(items=(orders.OrderLine(name="Cement", quantity=1, unit_price_minor=5_000, sku="CEM"),)),
        cart.ItemRemoved(sku="CEM"),
        cart.DiscountApplied(code="TEN"),
    ],
    ids=lambda end: end.type,
)
async def test_a_cart_that_is_not_left_any_more_is_not_reminded_of(postgres_url, end):
    late = datetime(2026, 11, 21, 18, tzinfo=UTC)
    line, clock = Line(), ManualClock(late)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(DIALOG, abandoned(time=late), told(end, time=late + timedelta(minutes=5), number=2))
        await eventually(lambda: line.on(OUTREACH, outreach.ReminderCancelled), "it is cancelled")
        pass_time(service, clock, timedelta(hours=9))
        assert await service.sweep.once() == 0
    assert line.on(INBOUND) == []


async def test_a_cart_that_was_left_reminds_once_however_often_it_is_read(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(DIALOG, abandoned(), abandoned())
        await eventually(lambda: line.on(INBOUND, NoticeDue), "the conversation is told")
        line.tell(DIALOG, abandoned())
        await handled(service, line)
    [notice] = line.data(INBOUND, NoticeDue)
    assert notice.text == "Your cart is still here: 2 products, ₹5,000. Write 1 to order, or send more items."
    assert (notice.purpose, notice.promotional) == ("cart_abandoned", False)
    assert len(line.on(OUTREACH, outreach.ReminderDue)) == 1


async def test_a_delivered_order_is_asked_about_some_days_later(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock, projects=with_terms(follow_up_days=3)) as service:
        shipped = told(orders.OrderAdvanced(order_id="ord-1", status="shipped"), stream="order-ord-1", number=2)
        delivered = told(orders.OrderAdvanced(order_id="ord-1", status="delivered"), stream="order-ord-1", number=3)
        line.tell(BILLING, order(), shipped, delivered)
        await eventually(lambda: line.on(OUTREACH), "it is scheduled")
        pass_time(service, clock, timedelta(days=3, minutes=1))
        await eventually(lambda: line.on(INBOUND), "it is asked")
    [scheduled] = line.data(OUTREACH, outreach.ReminderScheduled)
    assert (scheduled.kind, scheduled.due) == ("ORDER_FOLLOW_UP", NOW + timedelta(days=3))
    assert line.data(INBOUND, NoticeDue)[0].text.startswith("Your order N-ord-1 has arrived.")


def stock(amount: int | None, *, minutes: int) -> Envelope:
    time = NOW + timedelta(minutes=minutes)
    event = inventory.InventoryUpdated(sku="CEM", price_minor=5_000, stock=amount, fetched_at=time)
    return told(event, time=time, key="store/inventory/CEM", stream="inventory-store-CEM", number=minutes + 100)


def refused(reason: RefusalReason, in_stock: int | None, *, number: int = 1, minutes: int = 0) -> Envelope:
    line = cart.RefusedLine(text="cement 100", reason=reason, sku="CEM", in_stock=in_stock)
    return told(cart.ItemsRefused(lines=(line,)), number=number, time=NOW + timedelta(minutes=minutes))


async def test_who_wanted_what_was_out_of_stock_is_told_once_when_there_is_some(postgres_url):
    line = Line()
    async with worker(postgres_url, line, clock=ManualClock(NOW + timedelta(minutes=10))) as service:
        line.tell(INVENTORY, stock(50, minutes=-10), stock(0, minutes=-5))
        line.tell(DIALOG, refused("out_of_stock", 0), refused("unknown", None, number=2))
        await handled(service, line)
        line.tell(INVENTORY, stock(None, minutes=1), stock(0, minutes=2))
        await handled(service, line)
        assert line.on(OUTREACH) == []
        line.tell(INVENTORY, stock(30, minutes=3), stock(0, minutes=4), stock(20, minutes=5))
        await eventually(lambda: line.on(INBOUND), "the client is told")
        await handled(service, line)
    [notice] = line.data(INBOUND, NoticeDue)
    assert notice.text == "Cement is in stock again. To order, write what you need, such as: Cement x 10"
    assert (notice.purpose, notice.promotional, notice.about) == ("restock", True, "CEM")
    assert (line.on(INBOUND)[0].conversation, notice.variables["product"]) == (CLIENT, "Cement")


async def test_a_wish_that_is_read_after_the_stock_came_is_granted_all_the_same(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(INVENTORY, stock(30, minutes=5))
        await handled(service, line)
        line.tell(DIALOG, refused("not_enough", 10))
        await eventually(lambda: line.on(INBOUND), "the client is told")


async def test_stock_from_before_the_wish_grants_nothing(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(DIALOG, refused("not_enough", 10))
        await handled(service, line)
        line.tell(INVENTORY, stock(30, minutes=-1))
        await handled(service, line)
        assert line.on(OUTREACH) == []


def sent(stream: str) -> Envelope:
    event = deliveries.MessageSent(
        delivery_id="d", channel="twilio", provider_message_id="SM1", attempts=1, regarding=stream
    )
    return told(event, stream="delivery-d")


def withheld(stream: str) -> Envelope:
    return told(dialog.NoticeDecided(regarding=stream, purpose="cart_abandoned", withheld="no_cart"), number=9)


def blocked(stream: str) -> Envelope:
    event = deliveries.MessageBlocked(delivery_id="d", channel="twilio", reason="no template", regarding=stream)
    return told(event, stream="delivery-d")


def failed(stream: str) -> Envelope:
    event = deliveries.MessageFailed(
        delivery_id="d", channel="twilio", reason="refused", status=400, attempts=1, regarding=stream
    )
    return told(event, stream="delivery-d")


@pytest.mark.parametrize(
    ("topic", "outcome", "status", "reason"),
    [
        (NOTIFY, sent, "sent", None),
        (NOTIFY, blocked, "failed", "no template"),
        (NOTIFY, failed, "failed", "refused"),
        (DIALOG, withheld, "cancelled", "no_cart"),
    ],
)
async def test_what_became_of_a_reminder_is_known_and_stays(postgres_url, topic, outcome, status, reason):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(DIALOG, abandoned())
        await eventually(lambda: line.on(OUTREACH, outreach.ReminderDue), "it is due")
        [due] = line.on(OUTREACH, outreach.ReminderDue)
        line.tell(topic, outcome(due.stream), outcome(due.stream))
        await eventually(lambda: len(line.on(OUTREACH)) == 3, "it has an end")
        line.tell(NOTIFY, sent("reminder-unknown"), sent("campaign-1"), failed(due.stream))
        await handled(service, line)
        assert await rows(service, "SELECT status, reason FROM outreach.reminders") == [(status, reason)]
    assert len(line.on(OUTREACH)) == 3


async def test_a_client_who_speaks_another_language_is_reminded_in_it(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(DIALOG, told(dialog.ConversationStarted(flow="store", language="ru")))
        await handled(service, line)
        line.tell(DIALOG, abandoned())
        await eventually(lambda: line.on(INBOUND), "it is due")
    assert line.data(INBOUND, NoticeDue)[0].text.startswith("Ваша корзина ждёт вас.")
