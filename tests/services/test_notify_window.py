"""Free text only within a day of the client's last message; else the template; without one the message is blocked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.deliveries import MessageBlocked, MessageSent
from chatledger.events.dialog import MessageTemplate
from chatledger.project_files import load_projects
from chatledger.topics import DIALOG, INBOUND, NOTIFY
from chatledger_notify.deliveries import Delivery
from chatledger_notify.settings import accounts_of, templates_of
from chatledger_notify.window import Blocked, Form, is_open, last_message_at, template_or_block
from tests.support.notify import SENDER, eventually, publishing, query, reading, whatsapp, worker, wrote
from tests.support.provider import HANG, ScriptedProvider

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
OWN = MessageTemplate(content_sid="HX-own", variables={"1": "₹5,000"})
ENDED = "SELECT count(*) FROM notify.deliveries WHERE published_at IS NOT NULL"


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


def delivery(**about) -> Delivery:
    request = whatsapp("+1", 1, **about)
    return Delivery(request=request, reply=request.data, partition=0)  # type: ignore[arg-type]  # it is what whatsapp makes


@pytest.mark.parametrize(
    ("last", "expected"),
    [(NOW - DAY + timedelta(seconds=1), True), (NOW - DAY, False), (NOW, True), (None, False)],
)
def test_the_window_is_open_for_less_than_a_day(last, expected):
    assert is_open(DAY, last, NOW) is expected


def test_an_answer_counts_from_when_it_was_asked_for_and_anything_else_from_the_clients_last_message():
    assert last_message_at(delivery(time=NOW)) == NOW
    assert last_message_at(delivery(time=NOW, purpose="payment_due")) is None
    earlier = NOW - DAY
    assert last_message_at(delivery(time=NOW, purpose="payment_due", last_message_at=earlier)) == earlier


@pytest.mark.parametrize(
    ("template", "templates", "expected"),
    [
        (OWN, {"campaign": "HX-purpose", "default": "HX-default"}, Form(content_sid="HX-own")),
        (None, {"campaign": "HX-purpose", "default": "HX-default"}, Form(content_sid="HX-purpose")),
        (MessageTemplate(content_sid=None, variables={}), {"default": "HX-default"}, Form(content_sid="HX-default")),
    ],
)
def test_the_messages_own_template_comes_before_its_purposes_and_the_default(template, templates, expected):
    assert template_or_block(delivery(purpose="campaign", template=template), templates, DAY) == expected


def test_without_a_template_the_reason_says_what_to_configure():
    blocked = template_or_block(delivery(purpose="payment_due"), {"campaign": "HX"}, DAY)
    assert isinstance(blocked, Blocked)
    assert "channels.twilio.templates.payment_due" in blocked.reason
    assert "channels.twilio.templates.default in the project file of store" in blocked.reason


async def test_messages_go_as_text_or_template_or_are_blocked_without_a_request(broker, postgres_url, provider):
    clock = ManualClock(NOW)
    hour = timedelta(hours=1)
    requests = [
        whatsapp("+1", 1, time=NOW - 23 * hour),
        whatsapp("+2", 1, time=NOW - 25 * hour),
        whatsapp(
            "+3", 1, time=NOW, purpose="campaign", regarding="campaign-7", last_message_at=NOW - hour, template=OWN
        ),
        whatsapp("+4", 1, time=NOW, purpose="campaign", regarding="campaign-7", template=OWN),
        whatsapp("+5", 1, time=NOW, purpose="payment_due", regarding="reminder-1", last_message_at=NOW - 30 * hour),
        whatsapp("+6", 1, time=NOW, purpose="restock", regarding="reminder-2"),
        whatsapp("+6", 2, time=NOW),
    ]
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url, "clock": clock}
    templates = {"payment_due": "HX-due"}
    async with (
        publishing(broker) as publisher,
        reading(broker, NOTIFY) as outcomes,
        worker(**line, templates=templates) as service,
    ):
        await publisher.publish(DIALOG, requests)
        await eventually(lambda: len(outcomes.envelopes) == 7, "all end")
        assert service.board.breakers["store", "twilio"].failures == 0
    sent = {(m.client_id, m.text, m.content_sid): m for m in provider.received}
    assert sorted(sent) == [
        ("+1", "1", ""),
        ("+3", "1", ""),
        ("+4", "", "HX-own"),
        ("+5", "", "HX-due"),
        ("+6", "2", ""),
    ]
    assert (sent["+4", "", "HX-own"].variables, sent["+4", "", "HX-own"].sender) == ({"1": "₹5,000"}, SENDER)
    events = {(o.conversation.rsplit("/", 1)[1], o.causation_id): o for o in outcomes.envelopes}
    blocked = [events["+2", requests[1].id], events["+6", requests[5].id]]
    assert all(isinstance(each.data, MessageBlocked) for each in blocked)
    assert "templates.restock or channels.twilio.templates.default" in getattr(blocked[1].data, "reason", "")
    assert [getattr(each.data, "regarding", "") for each in blocked] == [None, "reminder-2"]
    assert all(each.stream_version == 1 for each in blocked)
    campaign = events["+3", requests[2].id].data
    assert isinstance(campaign, MessageSent)
    assert campaign.regarding == "campaign-7"
    statuses = "SELECT status, attempts, count(*)::int FROM notify.deliveries GROUP BY 1, 2 ORDER BY 1"
    assert query(postgres_url, statuses) == [("blocked", 0, 2), ("sent", 1, 5)]


async def test_a_client_who_wrote_since_may_be_answered_in_text(broker, postgres_url, provider):
    """The request knows of nothing, but the client's message has been read from chat.inbound."""
    clock = ManualClock(NOW)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url, "clock": clock}
    memory = "SELECT conversation, last_message_at FROM notify.clients ORDER BY 1"
    newest = NOW - timedelta(hours=2)
    async with publishing(broker) as publisher, worker(**line):
        await publisher.publish(
            INBOUND, [wrote("+1", newest), wrote("+1", newest - DAY), wrote("77", NOW, channel="chat2desk")]
        )
        await eventually(lambda: query(postgres_url, memory) == [("store/twilio/+1", newest)], "it is remembered")
        await publisher.publish(DIALOG, [whatsapp(f"+{n}", 1, time=NOW, purpose="campaign") for n in (1, 2)])
        await eventually(lambda: query(postgres_url, ENDED) == [(2,)], "both end")
    assert [(m.client_id, m.text) for m in provider.received] == [("+1", "1")]


async def test_the_window_is_looked_at_when_the_message_is_tried_not_when_it_was_asked_for(
    broker, postgres_url, provider
):
    clock = ManualClock(NOW)
    provider.script("+1", HANG)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url, "clock": clock}
    async with publishing(broker) as publisher, worker(**line, timeout_s=0.2, templates={"default": "HX-default"}):
        await publisher.publish(DIALOG, [whatsapp("+1", 1, time=NOW - timedelta(hours=23))])
        waiting = "SELECT count(*) FROM notify.deliveries WHERE attempts = 1"
        await eventually(lambda: query(postgres_url, waiting) == [(1,)], "the first try fails")
        clock.advance(timedelta(hours=2))
        await eventually(lambda: query(postgres_url, ENDED) == [(1,)], "it is sent")
    assert [(m.text, m.content_sid) for m in provider.received] == [("1", ""), ("", "HX-default")]


def test_a_projects_templates_and_callback_address_are_read_from_its_file(tmp_path):
    (tmp_path / "shop.yaml").write_text(
        "name: shop\nflow: order_form\nlanguages: [en]\nregion: IN\noffer: {item: {en: bread}}\n"
        "channels: {twilio: {templates: {payment_due: HX1}}, chat2desk: {}}\n"
    )
    projects = load_projects(tmp_path)
    assert templates_of(projects) == {("shop", "twilio"): {"payment_due": "HX1"}, ("shop", "chat2desk"): {}}
    environment = {
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_SID": "AC1",
        "TWILIO_WHATSAPP_NUMBER": "+1",
        "CHAT2DESK_API_TOKEN": "c",
    }
    accounts = accounts_of(projects, environment, public_base_url="https://shop.example/")
    assert accounts["shop", "twilio"] is not None
    assert accounts["shop", "twilio"].callback_url == "https://shop.example/webhook/twilio/shop"
    assert accounts["shop", "chat2desk"] is not None
    assert accounts["shop", "chat2desk"].callback_url == ""
    unreachable = accounts_of(projects, environment)["shop", "twilio"]
    assert unreachable is not None
    assert unreachable.callback_url == ""
