"""What providers report moves a delivery's status upward only, whatever the order, and every rise is told once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.deliveries import MessageDelivered, MessageRead, MessageSent, MessageUndelivered
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import DeliveryStatus
from chatledger.topics import DIALOG, INBOUND, NOTIFY
from chatledger_notify.reports import RANKS, Report, Standing, StatusRise, fold, status_event
from tests.support.notify import eventually, publishing, query, reading, report, whatsapp, worker
from tests.support.provider import Answer, ScriptedProvider

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STATUSES: tuple[DeliveryStatus, ...] = get_args(DeliveryStatus)
NOTHING = "chat.nothing"
FOLDED = "SELECT count(*) FROM notify.reports WHERE NOT waiting"
TOLD = "SELECT count(*) FROM notify.statuses"
PUBLISHED = "SELECT count(*) FROM notify.deliveries WHERE published_at IS NOT NULL"


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


SENT = Standing(
    id="delivery",
    conversation="store/twilio/+1",
    channel="twilio",
    regarding="campaign-7",
    correlation_id="webhook",
    traceparent=None,
    status="sent",
    attempts=1,
    provider_message_id="SM1",
    ended_at=NOW,
    reported=None,
    version=1,
)


def told(status: DeliveryStatus) -> Report:
    return Report(
        id=f"report {status}",
        partition=0,
        project="store",
        channel="twilio",
        delivery_id="delivery",
        provider_message_id="SM1",
        status=status,
        error="63024" if status == "failed" else None,
        reported_at=NOW + timedelta(seconds=RANKS[status]),
    )


@pytest.mark.parametrize("length", range(1, 6))
def test_every_order_of_arrival_ends_at_the_highest_and_tells_each_rise_above_sent(length):
    for order in itertools.permutations(STATUSES, length):
        for reports in (order, (*order, *order), tuple(each for each in order for _ in (1, 2))):
            folded = fold(SENT, [told(status) for status in reports])
            assert folded.standing.reported == max(order, key=lambda status: RANKS[status])
            rises = [rise.status for rise in folded.rises]
            assert rises == sorted(set(rises), key=lambda status: RANKS[status])
            assert all(RANKS[status] > RANKS["sent"] for status in rises)
            assert [rise.version for rise in folded.rises] == list(range(2, len(rises) + 2))
            highest = folded.standing.reported
            assert rises[-1:] == ([highest] if RANKS[highest] > RANKS["sent"] else [])


def test_one_by_one_is_the_same_as_all_at_once():
    for order in itertools.permutations(STATUSES):
        standing = SENT
        rises: list[StatusRise] = []
        for status in order:
            step = fold(standing, [told(status)])
            standing, rises = step.standing, [*rises, *step.rises]
        whole = fold(SENT, [told(status) for status in order])
        assert (standing, tuple(rises)) == (whole.standing, whole.rises)


def test_the_events_of_rises_belong_to_the_deliverys_stream():
    rises = fold(SENT, [told("failed"), told("delivered"), told("read")]).rises
    events = [status_event(rise) for rise in rises]
    assert [type(event.data) for event in events] == [MessageUndelivered, MessageDelivered, MessageRead]
    assert [event.stream_version for event in events] == [2, 3, 4]
    assert {event.stream for event in events} == {"delivery-delivery"}
    assert [event.causation_id for event in events] == ["report failed", "report delivered", "report read"]
    assert {event.correlation_id for event in events} == {"webhook"}
    assert {getattr(event.data, "regarding", None) for event in events} == {"campaign-7"}
    assert getattr(events[0].data, "reason", "") == "63024"
    assert len({event.id for event in events}) == 3
    assert events == [status_event(rise) for rise in rises]


def streams_of(events: list[Envelope]) -> dict[str, list[Envelope]]:
    found: dict[str, list[Envelope]] = {}
    for event in events:
        found.setdefault(event.stream, []).append(event)
    return found


@pytest.mark.slow
async def test_callbacks_in_every_order_with_duplicates_end_the_same_on_the_line(broker, postgres_url, provider):
    orders = list(itertools.permutations(STATUSES[1:]))
    clients = [f"+{number}" for number in range(len(orders))]
    requests = {client: whatsapp(client, 1, regarding="campaign-7") for client in clients}
    chance = random.Random(7)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, reading(broker, NOTIFY) as outcomes, worker(**line):
        await publisher.publish(DIALOG, list(requests.values()))
        await eventually(lambda: query(postgres_url, PUBLISHED) == [(len(orders),)], "all are sent")
        ids = dict(query(postgres_url, "SELECT id, provider_message_id FROM notify.deliveries"))
        for client, order in zip(clients, orders, strict=True):
            request = requests[client]
            for number, status in enumerate(order):
                # Half of the reports do not carry our id; one in three comes twice, with the same id or another.
                delivery_id = request.id if number % 2 else None
                reports = [report(client, status, message_id=ids[request.id], delivery_id=delivery_id, error="63024")]
                if chance.random() < 1 / 3:
                    again = chance.choice((0, 1))
                    reports.append(report(client, status, message_id=ids[request.id], delivery_id=None, again=again))
                await publisher.publish(INBOUND, reports)
        rows = "SELECT DISTINCT status, reported FROM notify.deliveries"
        await eventually(lambda: query(postgres_url, rows) == [("sent", "read")], "all end as read")
        await eventually(lambda: query(postgres_url, FOLDED) == [(0,)], "every report is folded")
        await eventually(lambda: query(postgres_url, TOLD) == [(0,)], "every rise is told")
    assert query(postgres_url, "SELECT count(*) FROM notify.reports") == [(0,)]
    streams = streams_of(outcomes.envelopes)
    for client, order in zip(clients, orders, strict=True):
        events = streams[f"delivery-{requests[client].id}"]
        assert [event.stream_version for event in events] == list(range(1, len(events) + 1))
        assert isinstance(events[0].data, MessageSent)
        assert isinstance(events[-1].data, MessageRead)
        highest, expected = 1, []
        for status in order:
            if RANKS[status] > highest:
                highest = RANKS[status]
                expected.append({"failed": "message.undelivered"}.get(status, f"message.{status}"))
        assert [event.data.type for event in events[1:]] == expected


async def test_a_report_that_comes_before_its_message_is_known_waits_for_it(broker, postgres_url, provider):
    provider.script("+1", Answer(delay_s=1.0))
    request = whatsapp("+1", 1)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    early = [
        report("+1", status, message_id=f"SM{1_000_000:032x}", delivery_id=None) for status in ("delivered", "sent")
    ]
    strange = report("+1", "read", message_id="SM-of-somebody-else", delivery_id=None)
    waiting = "SELECT count(*) FROM notify.reports WHERE waiting"
    async with publishing(broker) as publisher, reading(broker, NOTIFY) as outcomes, worker(**line):
        await publisher.publish(INBOUND, [*early, strange])
        await eventually(lambda: query(postgres_url, waiting) == [(3,)], "no message is known by these ids")
        await publisher.publish(DIALOG, [request])
        await eventually(lambda: len(outcomes.envelopes) == 2, "it is sent, and then the reports count")
        await eventually(lambda: query(postgres_url, waiting) == [(1,)], "the stranger's still waits")
    assert [type(event.data) for event in outcomes.envelopes] == [MessageSent, MessageDelivered]
    assert [event.stream_version for event in outcomes.envelopes] == [1, 2]


async def test_reports_of_unknown_messages_and_silent_clients_are_forgotten_with_age(broker, postgres_url, provider):
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    clock = ManualClock(NOW)
    reports = [
        report("+1", "read", message_id=name, delivery_id=None, time=NOW - age)
        for name, age in (("old", timedelta(hours=25)), ("new", timedelta(hours=23)))
    ]
    async with publishing(broker) as publisher, worker(**line, clock=clock) as service:
        await publisher.publish(INBOUND, reports)
        waiting = "SELECT provider_message_id FROM notify.reports WHERE waiting ORDER BY 1"
        await eventually(lambda: query(postgres_url, waiting) == [("new",), ("old",)], "they wait")
        await service.folding.forget_old()
        assert query(postgres_url, waiting) == [("new",)]


async def test_a_report_of_another_projects_message_moves_nothing(broker, postgres_url, provider):
    request = whatsapp("+1", 1)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with publishing(broker) as publisher, worker(**line):
        await publisher.publish(DIALOG, [request])
        await eventually(lambda: query(postgres_url, PUBLISHED) == [(1,)], "it is sent")
        ours = report("+1", "read", message_id="SM9", delivery_id=request.id)
        theirs = type(ours)(
            **{name: getattr(ours, name) for name in ours.__slots__ if name != "conversation"},
            conversation="other/twilio/+1",
        )
        await publisher.publish(INBOUND, [theirs])
        waiting = "SELECT count(*) FROM notify.reports WHERE waiting"
        await eventually(lambda: query(postgres_url, waiting) == [(1,)], "it is nobody's")
    assert query(postgres_url, "SELECT reported FROM notify.deliveries") == [(None,)]


async def test_reports_that_another_worker_reads_are_folded_by_the_one_that_sends(broker, postgres_url, provider):
    """The group may give one topic's partition to one worker and the other topic's to another."""
    request = whatsapp("+1", 1)
    line = {"bootstrap_servers": broker, "database": postgres_url, "provider_url": provider.url}
    async with (
        publishing(broker) as publisher,
        reading(broker, NOTIFY) as outcomes,
        worker(**line, inbound=NOTHING) as sending,
    ):
        await eventually(lambda: len(sending.sender.queues.owned) == 4, "the first sends to everybody")
        async with worker(**line, dialog=NOTHING, group="other") as listening:
            await publisher.publish(DIALOG, [request])
            await eventually(lambda: outcomes.envelopes, "it is sent")
            await publisher.publish(INBOUND, [report("+1", "read", message_id="SM1", delivery_id=request.id)])
            await eventually(lambda: len(outcomes.envelopes) == 2, "it is told to be read")
            assert not listening.sender.queues.owned
    assert [event.stream_version for event in outcomes.envelopes] == [1, 2]
