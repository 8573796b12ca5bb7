"""What outreach knows of clients, whatever order the topics are read in; and what a project file says of reminders."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from pathlib import Path

import pytest
import yaml

from chatledger.errors import ConfigurationError
from chatledger.events import dialog, inbound, orders
from chatledger.events.envelope import Envelope
from chatledger.flows.notices import REMINDER_TEXTS
from chatledger.project_files import parse_project
from chatledger.projects import Project
from chatledger.topics import BILLING, DIALOG, INBOUND
from tests.support.outreach import CLIENT, NOW, PHONE, Line, handled, invoice, order, rows, told, worker

CLIENTS = (
    "SELECT client_id, name, language, opted_out, orders, spend_minor, currency, last_order_at, last_message_at,"
    " time_zone FROM outreach.clients"
)
STORE_FILE = Path(__file__).resolve().parents[2] / "projects" / "store.yaml"


def message(*, name: str | None, minutes: int = 0) -> Envelope:
    event = inbound.MessageReceived(
        channel="twilio",
        client_id=PHONE,
        provider_message_id=f"SM{minutes}",
        text="hi",
        reply_to={},
        raw={},
        client_name=name,
    )
    return told(event, time=NOW + timedelta(minutes=minutes), number=minutes + 100)


def cancelled(order_id: str | None) -> Envelope:
    event = dialog.OrderCancelled(reason="client", order_id=order_id)
    return told(event, stream=f"order-{order_id}", number=2)


@pytest.mark.postgres
async def test_a_client_is_known_by_what_was_said_and_ordered(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(INBOUND, message(name="Asha"), message(name=None, minutes=5), message(name=None, minutes=3))
        line.tell(DIALOG, told(dialog.ConversationStarted(flow="store", language="ru")))
        line.tell(BILLING, order(), order(id="ord-2", quantity=10, time=NOW + timedelta(hours=1)))
        line.tell(DIALOG, told(dialog.ClientOptedOut()), told(dialog.ClientOptedIn()), told(dialog.ClientOptedOut()))
        await handled(service, line)
        [client] = await rows(service, CLIENTS)
    assert client[:7] == (PHONE, "Asha", "ru", True, 2, 550_000, "INR")
    assert [each.astimezone(UTC) for each in client[7:9]] == [NOW + timedelta(hours=1), NOW + timedelta(minutes=5)]
    assert client[9] == "Asia/Calcutta"


@pytest.mark.postgres
async def test_a_cancelled_order_counts_no_more_and_nothing_counts_twice(postgres_url):
    line = Line()
    events = [order(), order(id="ord-2", quantity=10), cancelled("ord-2"), cancelled(None)]
    async with worker(postgres_url, line) as service:
        line.tell(BILLING, *events)
        await handled(service, line)
        line.tell(BILLING, *events)
        await handled(service, line)
        assert [each[4:8] for each in await rows(service, CLIENTS)] == [(1, 500_000, "INR", NOW)]
        line.tell(BILLING, cancelled("ord-1"))
        await handled(service, line)
        assert [each[4:8] for each in await rows(service, CLIENTS)] == [(0, 0, None, None)]


@pytest.mark.postgres
async def test_a_broker_that_begins_anew_with_the_same_events_changes_nothing(postgres_url):
    for _ in range(2):
        line = Line()
        async with worker(postgres_url, line) as service:
            await rows(service, "DELETE FROM outreach.positions RETURNING 1")
            line.tell(BILLING, order(), invoice(due_on=date(2026, 12, 5)))
            await handled(service, line)
            assert [each[4:6] for each in await rows(service, CLIENTS)] == [(1, 500_000)]
            assert await rows(service, "SELECT count(*) FROM outreach.events") == [(1,)]


@pytest.mark.postgres
async def test_orders_and_invoices_are_known_as_they_stand(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        advanced = told(orders.OrderAdvanced(order_id="ord-1", status="shipped"), stream="order-ord-1", number=3)
        paid = told(orders.InvoicePaid(invoice_id="inv-1"), stream="invoice-inv-1", number=2)
        voided = orders.InvoiceVoided(invoice_id="inv-2", credit_note="CN-1", reason="wrong")
        line.tell(BILLING, order(), advanced, order(id="ord-2"), cancelled("ord-2"))
        line.tell(BILLING, told(advanced.data, stream="order-ord-1", number=4))
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)), paid, invoice(due_on=date(2026, 12, 6), id="inv-2"))
        line.tell(BILLING, told(voided, stream="invoice-inv-2", number=2))
        await handled(service, line)
        known = await rows(service, "SELECT id, conversation, status FROM outreach.orders ORDER BY id")
        invoices = await rows(service, "SELECT id, status, due_on FROM outreach.invoices ORDER BY id")
    assert known == [("ord-1", CLIENT, "shipped"), ("ord-2", CLIENT, "cancelled")]
    assert invoices == [("inv-1", "paid", date(2026, 12, 5)), ("inv-2", "void", date(2026, 12, 6))]


def store(**changes: object) -> Project:
    document = yaml.safe_load(STORE_FILE.read_text("utf-8"))
    return parse_project(yaml.safe_dump(document | changes), where="store.yaml")


def test_a_project_replaces_what_reminders_say():
    own = {"en": {"reminder_restock": "Come and get {product}!"}}
    project = store(texts=own)
    assert project.text("en", "reminder_restock", product="Cement") == "Come and get Cement!"
    assert REMINDER_TEXTS.keys() <= project.texts["en"].keys()


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"texts": {"en": {"reminder_restock": "{sku}"}}}, "texts.en.reminder_restock: unknown variable {sku}"),
        ({"texts": {"en": {"reminder_birthday": "x"}}}, "texts.en.reminder_birthday: the flow store has no such text"),
        (
            {"texts": {"en": {"reminder_restock": "x"}}, "outreach": None},
            "texts.en.reminder_restock: the flow store has no such text",
        ),
    ],
)
def test_a_project_file_is_told_what_is_wrong_about_its_reminders(changes, wrong):
    with pytest.raises(ConfigurationError, match=r"^store\.yaml: ") as refused:
        store(**changes)
    assert wrong in str(refused.value)
