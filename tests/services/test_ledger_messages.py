"""`verify` on messages: how far they came, campaigns, unwanted promotions; each planted violation is caught."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from chatledger import topics
from chatledger.events import Envelope, deliveries, dialog, inbound
from chatledger.events.ids import derive_id
from chatledger.events.inventory import InventoryUpdated
from chatledger_ledger import invariants
from tests.support.ledger import Placed, as_records, open_ledger
from tests.support.ledger_plants import changed, is_a, of, report_on, require_complaint, without
from tests.support.store_history import START, StoreHistory, campaign, campaign_message

pytestmark = pytest.mark.postgres

PROMOTION, NEWS = "c1", "c2"


def right_history() -> Placed:
    """Messages that were read, refused, blocked and not delivered; a promotion, and news to who wants no promotions."""
    first = StoreHistory(client="+919900000001")
    hello = first.replied(first.said("hi"))
    first.sent(hello, delivered(hello), read(hello))
    first.sent(campaign_message(first, PROMOTION))
    first.decided(first.said("stop"), dialog.ClientOptedOut())
    first.sent(campaign_message(first, NEWS, promotional=False))
    second = StoreHistory(client="+919900000002")
    answer = second.replied(second.said("hi"))
    second.sent(answer, undelivered(answer), delivered(answer))
    for ends in (failed, blocked):
        requested = second.replied(second.said("hi"))
        second.decided(requested, ends(requested), topic=topics.NOTIFY, stream=f"delivery-{requested.id}")
    second.decided(second.said("stop"), dialog.ClientOptedOut())
    second.decided(second.said("start"), dialog.ClientOptedIn())
    second.sent(campaign_message(second, PROMOTION))
    return [campaign(PROMOTION), campaign(NEWS, kind="TRANSACTIONAL"), *first.placed, *second.placed]


def failed(requested: Envelope) -> deliveries.MessageFailed:
    return deliveries.MessageFailed(
        delivery_id=requested.id, channel="twilio", reason="HTTP 403", status=403, attempts=1
    )


def blocked(requested: Envelope) -> deliveries.MessageBlocked:
    return deliveries.MessageBlocked(delivery_id=requested.id, channel="twilio", reason="no template")


def delivered(requested: Envelope) -> deliveries.MessageDelivered:
    return deliveries.MessageDelivered(delivery_id=requested.id, channel="twilio", provider_message_id="SM1")


def read(requested: Envelope) -> deliveries.MessageRead:
    return deliveries.MessageRead(delivery_id=requested.id, channel="twilio", provider_message_id="SM1")


def undelivered(requested: Envelope) -> deliveries.MessageUndelivered:
    return deliveries.MessageUndelivered(
        delivery_id=requested.id, channel="twilio", provider_message_id="SM1", reason="63016"
    )


async def test_a_right_history_has_no_violation(postgres_url):
    report = await report_on(postgres_url, right_history())
    assert report.violations == 0, report.findings
    assert of(report, "I7").checked == 7


def swapped(earlier: type, later: type) -> Placed:
    """Two events of one delivery change places, and versions with them."""
    placed = right_history()
    one, other = (next(at for at, (_, each) in enumerate(placed) if is_a(type_)(each)) for type_ in (earlier, later))
    (_, before), (_, after) = placed[one], placed[other]
    placed[one] = (topics.NOTIFY, replace(after, stream_version=before.stream_version))
    placed[other] = (topics.NOTIFY, replace(before, stream_version=after.stream_version))
    return placed


def told_twice(campaign_id: str) -> Placed:
    """The first client gets a message of a campaign once more."""
    history = StoreHistory(client="+919900000001")
    placed = right_history()
    history.placed = [each for each in placed if each[1].conversation == history.conversation]
    known = len(history.placed)
    history.sent(campaign_message(history, campaign_id))
    return [*placed, *history.placed[known:]]


def stop_before_the_promotion(placed: Placed) -> Placed:
    """The second client's opting in again is lost, its version taken by something else."""
    return [
        (topic, replace(each, data=dialog.MessageDeferred()) if isinstance(each.data, dialog.ClientOptedIn) else each)
        for topic, each in placed
    ]


@pytest.mark.parametrize(
    ("placed", "complaint"),
    [
        pytest.param(without(is_a(deliveries.MessageBlocked))(right_history()), "has no outcome", id="not blocked"),
        pytest.param(swapped(deliveries.MessageDelivered, deliveries.MessageRead), "goes back", id="back"),
        pytest.param(
            changed(deliveries.MessageDelivered, delivery_id=derive_id("nobody"))(right_history()),
            "comes before it was sent",
            id="status of nothing",
        ),
        pytest.param(
            swapped(deliveries.MessageSent, deliveries.MessageDelivered),
            "comes before it was sent",
            id="status too early",
        ),
        pytest.param(told_twice(NEWS), "was sent 2 times", id="campaign twice"),
        pytest.param(told_twice(PROMOTION), "after the client opted out", id="promotion that is unwanted"),
        pytest.param(
            changed(inbound.NoticeDue, promotional=True, which=1)(right_history()),
            "after the client opted out",
            id="notice that calls itself promotional",
        ),
        pytest.param(
            changed(inbound.NoticeDue, promotional=False, which=2)(stop_before_the_promotion(right_history())),
            "a promotion (campaign-c1) after the client opted out",
            id="campaign that is promotional",
        ),
    ],
)
async def test_a_planted_violation_is_found(postgres_url, placed, complaint):
    require_complaint(await report_on(postgres_url, placed), "I7", complaint)


@pytest.mark.parametrize("lost", [deliveries.MessageDelivered, inbound.NoticeDue], ids=["delivery", "cause"])
async def test_gaps_and_missing_causes_are_found_in_the_streams_of_messages(postgres_url, lost):
    report = await report_on(postgres_url, without(is_a(lost))(right_history()))
    if lost is deliveries.MessageDelivered:
        require_complaint(report, "I4", "version 3 where 2 should be")
    else:
        require_complaint(report, "I2", "its cause")


def from_elsewhere(stream: str, version: int = 1) -> tuple[str, Envelope]:
    """What another system told, or an operator did: nothing here caused it."""
    event_id = derive_id(stream, version)
    return topics.INVENTORY, Envelope(
        id=event_id,
        source="/chatledger/crm",
        conversation="store/inventory/CEM-50",
        time=START,
        stream=stream,
        stream_version=version,
        correlation_id=event_id,
        causation_id=None,
        traceparent=None,
        data=InventoryUpdated(sku="CEM-50", price_minor=5_200, stock=3, fetched_at=START),
    )


async def test_what_comes_from_another_system_needs_no_cause(postgres_url):
    placed = [from_elsewhere("inventory-store-CEM-50"), from_elsewhere("inventory-store-CEM-50", 2)]
    assert (await report_on(postgres_url, placed)).violations == 0


@pytest.mark.parametrize("stream", ["conversation-store/twilio/1", "order-1", "invoice-1", "delivery-1", "crm-order-1"])
async def test_what_is_decided_here_needs_a_cause(postgres_url, stream):
    require_complaint(await report_on(postgres_url, [from_elsewhere(stream)]), "I2", "(none named)")


@pytest.mark.parametrize("kind", ["campaign", "client", "inventory", "reminder", "crm-order"])
async def test_a_gap_is_found_in_every_stream(postgres_url, kind):
    report = await report_on(postgres_url, [from_elsewhere(f"{kind}-1", 1), from_elsewhere(f"{kind}-1", 3)])
    require_complaint(report, "I4", "version 3 where 2 should be")


@pytest.mark.parametrize(
    ("lost", "unfinished"),
    [
        pytest.param((), 0, id="nothing"),
        pytest.param((deliveries.MessageBlocked, deliveries.MessageFailed), 2, id="messages"),
        pytest.param((dialog.NoticeDecided, dialog.ReplyRequested, deliveries.MessageSent), 3, id="notices"),
    ],
)
async def test_settling_waits_for_what_is_on_its_way(postgres_url, lost, unfinished):
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(without(is_a(*lost))(right_history())))
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        assert await invariants.count_unfinished(connection) == unfinished
