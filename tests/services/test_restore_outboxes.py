"""What was published on a broker that was lost, and never recorded: each service publishes it again, or it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from chatledger import topics
from chatledger.adapters.clock import SystemClock
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.postgres import open_pool
from chatledger.events import Envelope
from chatledger.events.codec import from_wire
from chatledger.events.deliveries import MessageRead, MessageSent
from chatledger.events.dialog import OrderPlaced, ReplyRequested, TimerRequested
from chatledger.events.inbound import TimerFired
from chatledger.events.inventory import InventoryUpdated
from chatledger.events.letters import RecordLost
from chatledger.events.outreach import ReminderCancelled
from chatledger.flows import FLOWS
from chatledger_billing.store import postgres_store
from chatledger_crm import outbox as crm_outbox
from chatledger_ledger.verification import BrokerAddress, verify
from chatledger_outreach.journal import Journal
from chatledger_outreach.relay import publish_step
from tests.services.billing_given import (
    TALKATIVE,
    RememberedPublisher,
    billing_on,
    cause,
    placed,
    record,
    relay_all,
    talkative,
)
from tests.support.ledger import Placed, history, open_ledger
from tests.support.notify import STORE, dialog_event, eventually, publishing, reading, reply, report, whatsapp, worker
from tests.support.outreach import told
from tests.support.provider import ScriptedProvider
from tests.support.restore import LostBroker, connected, read_all, restored_to, rows, set_up

pytestmark = pytest.mark.postgres


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


async def recorded_but(url: str, lost: EmbeddedBroker, missing: set[str]) -> dict[str, Envelope]:
    """Record what is on a broker, all but some events; return those."""
    kept, left_out = [], {}
    for at, records in (await read_all(lost.bootstrap_servers)).items():
        for each in records:
            envelope = from_wire(each.headers, each.value)
            if envelope.id in missing:
                left_out[envelope.id] = envelope
            else:
                kept.append((at, each, envelope))
    async with open_ledger(url, incarnation=lost.incarnation) as ledger:
        await ledger.append(
            [
                recorded_at(at.topic, at.partition, each.offset, envelope)
                for at, each, envelope in sorted(kept, key=lambda place: topics.ALL.index(place[0].topic))
            ]
        )
    return left_out


def recorded_at(topic: str, partition: int, offset: int, envelope: Envelope):
    from chatledger.adapters.ledger_records import recorded

    return recorded(envelope, topic=topic, partition=partition, offset=offset)


async def test_notify_tells_again_what_was_not_recorded_and_sends_nothing_again(postgres_url, broker):
    await set_up(postgres_url)
    timer = dialog_event(TimerRequested(kind="expiry", due=datetime.now(UTC)), number=1, client="5")
    asked = [reply("1", 1), reply("2", 1), whatsapp("+919900000003", 1)]
    with ScriptedProvider() as provider:
        options = {"database": postgres_url, "provider_url": provider.url}
        with EmbeddedBroker() as lost:
            async with (
                publishing(lost.bootstrap_servers) as publisher,
                reading(lost.bootstrap_servers, topics.NOTIFY) as told_of,
                reading(lost.bootstrap_servers, topics.INBOUND) as inbound,
                worker(bootstrap_servers=lost.bootstrap_servers, incarnation=lost.incarnation, **options),
            ):
                await publisher.publish(topics.DIALOG, [*asked, timer])
                await eventually(lambda: len(told_of.envelopes) == 3, "all are sent")
                [sent] = [
                    each.data
                    for each in told_of.envelopes
                    if isinstance(each.data, MessageSent) and STORE in each.conversation
                ]
                reports = [
                    report("+919900000003", status, message_id=sent.provider_message_id, delivery_id=asked[2].id)
                    for status in ("delivered", "read")
                ]
                await publisher.publish(topics.INBOUND, reports)
                await eventually(lambda: len(told_of.envelopes) == 5, "it was read")
                await eventually(lambda: TimerFired in [type(each.data) for each in inbound.envelopes], "it fires")
            missing = {
                each.id
                for each in [*told_of.envelopes, *inbound.envelopes]
                if isinstance(each.data, MessageRead | TimerFired)
                or (isinstance(each.data, MessageSent) and each.conversation.endswith("/1"))
            }
            assert len(missing) == 3
            left_out = await recorded_but(postgres_url, lost, missing)
        restored = await restored_to(broker, postgres_url)
        assert restored.again == {"notify": 3}
        before = len(provider.received)
        async with (
            reading(broker.bootstrap_servers, topics.NOTIFY) as told_of,
            reading(broker.bootstrap_servers, topics.INBOUND) as inbound,
            worker(bootstrap_servers=broker.bootstrap_servers, incarnation=broker.incarnation, **options),
        ):

            def found() -> dict[str, Envelope]:
                return {each.id: each for each in [*told_of.envelopes, *inbound.envelopes]}

            await eventually(lambda: missing <= found().keys(), "all is told again")
            again = {event_id: each for event_id, each in found().items() if event_id in missing}
        assert len(provider.received) == before
    for event_id, envelope in again.items():
        if not isinstance(envelope.data, TimerFired):  # that one has the time at which it fires
            assert envelope == left_out[event_id]


async def test_billing_publishes_again_from_before_what_is_missing(postgres_url, broker, monkeypatch):
    monkeypatch.setitem(FLOWS, TALKATIVE.name, TALKATIVE)
    monkeypatch.setattr("tests.support.restore.PROJECTS", talkative())
    await set_up(postgres_url)
    causes = [cause(placed(client), client) for client in (1, 2, 3)]
    publisher = RememberedPublisher()
    with billing_on(postgres_store(postgres_url), publisher, incarnation="lost", projects=talkative()) as billing:
        await billing.biller.handle([record(each, offset) for offset, each in enumerate(causes)])
        await relay_all(billing, postgres_url)
    published = publisher.on(topics.BILLING)
    reports = publisher.on(topics.INBOUND)
    assert (len(published), len(reports)) == (9, 3)
    lost = LostBroker("lost")
    # Of billing's events the last two are missing, of its reports the second.
    kept: Placed = [
        *((topics.DIALOG, each) for each in causes),
        *((topics.BILLING, each) for each in published[:7]),
        *((topics.INBOUND, each) for each in reports if each is not reports[1]),
    ]
    await lost.record(postgres_url, lost.put(kept))
    restored = await restored_to(broker, postgres_url)
    assert (restored.again, restored.lost) == ({"billing": 2}, 3)  # the messages that led to the orders were no part
    again = RememberedPublisher()
    with billing_on(
        postgres_store(postgres_url), again, incarnation=broker.incarnation, projects=talkative()
    ) as billing:
        await relay_all(billing, postgres_url)
    everything = published + reports
    assert {each.id for each in published[7:]} | {reports[1].id} <= {each.id for _, each in again.published}
    assert all(each in everything for _, each in again.published)
    assert published[0] not in again.on(topics.BILLING)
    assert await rows(postgres_url, "SELECT count(*), max(version) FROM billing.orders") == [(3, 2)]


async def test_billing_issues_no_invoice_again(postgres_url, broker):
    await set_up(postgres_url)
    causes = [cause(placed(client), client) for client in (1, 2, 3)]
    lost = LostBroker("lost")
    records = lost.put([(topics.DIALOG, each) for each in causes])
    with billing_on(postgres_store(postgres_url), RememberedPublisher(), incarnation="lost") as billing:
        await billing.biller.handle(records)
    await lost.record(postgres_url, records)
    await restored_to(broker, postgres_url)
    with billing_on(postgres_store(postgres_url), RememberedPublisher(), incarnation=broker.incarnation) as billing:
        there = await read_all(broker.bootstrap_servers)
        ends = {at: len(each) for at, each in there.items() if each and at.topic == topics.DIALOG}
        assert await billing.positions.load(list(ends)) == ends


async def test_outboxes_of_rows_are_unmarked_where_the_ledger_lacks_them(postgres_url, broker):
    await set_up(postgres_url)
    reminders = [
        told(ReminderCancelled(reminder_id=str(number), reason="client"), stream=f"reminder-{number}", number=1)
        for number in range(4)
    ]
    updates = [
        told(
            InventoryUpdated(sku=f"S{number}", price_minor=1, stock=1, fetched_at=datetime.now(UTC)),
            stream=f"inventory-store-S{number}",
            key=f"store/inventory/S{number}",
        )
        for number in range(4)
    ]
    first, again = RememberedPublisher(), RememberedPublisher()
    pool = await open_pool(postgres_url)
    try:
        async with connected(postgres_url) as connection:
            await Journal(pool).append(connection, reminders)
            await crm_outbox.append(connection, updates)
            await publish_step(first, connection)
            await crm_outbox.publish_step(first, SystemClock(), connection)
            lost = LostBroker("lost")
            kept = [each for place, each in enumerate(first.published) if place % 2]
            await lost.record(postgres_url, lost.put(kept))
            restored = await restored_to(broker, postgres_url)
            assert restored.again == {"outreach": 2, "crm": 2}
            await publish_step(again, connection)
            await crm_outbox.publish_step(again, SystemClock(), connection)
    finally:
        await pool.close()
    assert again.published == [each for each in first.published if each not in kept]


async def test_what_nobody_has_any_more_is_recorded_as_lost(postgres_url, broker):
    """The ledger has effects of a message that was never recorded: of its reply, its order and its invoice."""
    await set_up(postgres_url)
    said = history("77")
    order = next(each for _, each in said if isinstance(each.data, OrderPlaced))
    last_reply = [each for _, each in said if isinstance(each.data, ReplyRequested)][-1]
    unread = {each.id for _, each in said if each.causation_id == order.causation_id} | {order.causation_id}
    lost = LostBroker("lost")
    kept = [(topic, each) for topic, each in said if each.id not in unread]
    await lost.record(postgres_url, lost.put(kept))
    restored = await restored_to(broker, postgres_url)
    assert restored.lost == 2  # the message itself left nothing in history but these
    letters = await lost_in(postgres_url)
    assert {each.event_id for each in letters} == {order.id, last_reply.id}
    address = BrokerAddress(bootstrap_servers=broker.bootstrap_servers, incarnation=broker.incarnation)
    report_now = await verify(postgres_url, broker=address)
    assert [each for each in report_now.findings if each.violations] == []


async def test_what_the_dialog_decides_again_is_not_lost(postgres_url, broker):
    await set_up(postgres_url)
    said = history("77")
    order = next(each for _, each in said if isinstance(each.data, OrderPlaced))
    decided = {each.id for _, each in said if each.causation_id == order.causation_id}
    lost = LostBroker("lost")
    await lost.record(postgres_url, lost.put([(topic, each) for topic, each in said if each.id not in decided]))
    restored = await restored_to(broker, postgres_url)
    assert restored.lost == 0
    assert await lost_in(postgres_url) == []


async def test_a_loss_is_told_once(postgres_url, broker):
    await set_up(postgres_url)
    said = history("77")
    unread = {each.id for _, each in said if isinstance(each.data, OrderPlaced)}
    unread |= {str(each.causation_id) for _, each in said if each.id in unread}
    lost = LostBroker("lost")
    await lost.record(postgres_url, lost.put([(topic, each) for topic, each in said if each.id not in unread]))
    assert (await restored_to(broker, postgres_url)).lost == 2
    with EmbeddedBroker() as third:
        assert (await restored_to(third, postgres_url)).lost == 0
        there = await read_all(third.bootstrap_servers)
    assert len(await lost_in(postgres_url)) == 2
    on_dead = [each for at, records in there.items() if at.topic == topics.DEAD for each in records]
    assert len(on_dead) == 2


async def lost_in(url: str) -> list[RecordLost]:
    """What the ledger calls lost."""
    async with open_ledger(url) as ledger:
        return [each.envelope.data async for each in ledger.read() if isinstance(each.envelope.data, RecordLost)]
