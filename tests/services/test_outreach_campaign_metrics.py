"""What is counted of a campaign's messages: the table and the events alone come to the same, whatever came when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest

from chatledger.events import deliveries, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import MessageReceived, NoticeDue
from chatledger.topics import DIALOG, INBOUND, NOTIFY
from chatledger_outreach import campaign_store, campaign_tracking
from chatledger_outreach.campaign_metrics import Metrics, metrics_from_events
from chatledger_outreach.campaigns import campaign_stream
from tests.support.campaigns import Bench, campaigning, conversation
from tests.support.outreach import NOW, Line, eventually, handled, told, worker

pytestmark = pytest.mark.postgres
CLIENTS = 12
SECOND = timedelta(seconds=1)


def message(number: int, at: datetime, *, again: int = 1) -> Envelope:
    """The client with this number writes."""
    received = MessageReceived(
        channel="twilio", client_id="", provider_message_id=f"{again}", text="hi", reply_to={}, raw={}
    )
    return told(received, time=at, key=conversation(number), number=again)


def outcome(event: type[Event], campaign: str, number: int, at: datetime, version: int = 1) -> Envelope:
    """Notify says how far the message to a client has come."""
    fields = {
        "delivery_id": f"d-{number}",
        "channel": "twilio",
        "provider_message_id": "SM1",
        "attempts": 1,
        "status": None,
        "reason": "why",
        "regarding": campaign_stream(campaign),
    }
    known = {name: value for name, value in fields.items() if name in event.__dataclass_fields__}
    return told(
        event(**known), time=at, key=conversation(number), stream=f"delivery-{campaign}-{number}", number=version
    )


def decided(campaign: str, number: int, withheld: str | None) -> Envelope:
    """The conversation says whether it passes the message on."""
    event = dialog.NoticeDecided(regarding=campaign_stream(campaign), purpose="campaign", withheld=withheld)
    return told(event, key=conversation(number), number=100)


async def tracked(bench: Bench, campaign: str, *batches: Sequence[Envelope]) -> Metrics:
    """Take batches in, and count."""
    for batch in batches:
        async with bench.outreach.pool.connection() as connection:
            await campaign_tracking.track(connection, batch)
    stored = await bench.read(campaign)
    async with bench.outreach.pool.connection() as connection:
        return await campaign_store.metrics(connection, stored.campaign)


async def test_each_number_counts_what_it_says(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(8)
        await bench.add({"number": 9, "orders": 1})
        campaign = await bench.start(
            batch_size=100, message="{% if not orders %}Hello{% elif name == 'x' %}{% endif %}"
        )
        await bench.run()
        sent = [outcome(deliveries.MessageSent, campaign, number, NOW) for number in (1, 2, 3, 4, 5)]
        later = NOW + SECOND
        events = [
            *sent,
            outcome(deliveries.MessageDelivered, campaign, 2, later, 2),
            outcome(deliveries.MessageDelivered, campaign, 3, later, 2),
            outcome(deliveries.MessageRead, campaign, 3, later, 3),
            outcome(deliveries.MessageUndelivered, campaign, 4, later, 2),
            outcome(deliveries.MessageFailed, campaign, 6, NOW),
            outcome(deliveries.MessageBlocked, campaign, 7, NOW),
            decided(campaign, 8, "opted_out"),
            message(1, later),
            message(6, later),
        ]
        metrics = await tracked(bench, campaign, events)
        assert metrics == Metrics(targeted=9, skipped=2, sent=5, delivered=2, read=1, failed=3, responses=1)
        assert metrics.rates() == {
            "sent": 0.5556,
            "failed": 0.3333,
            "delivered": 0.4,
            "read": 0.2,
            "responses": 0.2,
        }
        assert metrics_from_events(campaign, [*await bench.events(), *events]) == metrics
        reasons = "SELECT reason FROM outreach.campaign_targets WHERE reason IS NOT NULL ORDER BY conversation"
        assert [row[0] for row in await bench.rows(reasons)] == ["why", "why", "why", "opted_out", "empty"]


async def test_a_state_never_goes_back(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(1)
        campaign = await bench.start()
        await bench.run()
        read = outcome(deliveries.MessageRead, campaign, 1, NOW, 3)
        rest = [
            outcome(deliveries.MessageDelivered, campaign, 1, NOW, 2),
            outcome(deliveries.MessageUndelivered, campaign, 1, NOW, 4),
            outcome(deliveries.MessageSent, campaign, 1, NOW),
        ]
        metrics = await tracked(bench, campaign, [read], rest, rest)
        assert metrics == Metrics(targeted=1, skipped=0, sent=1, delivered=1, read=1, failed=0, responses=0)


@pytest.mark.parametrize(
    ("written_after", "counts"),
    [
        (-SECOND, 0),
        (timedelta(), 0),
        (SECOND, 1),
        (timedelta(hours=24), 1),
        (timedelta(hours=24, seconds=1), 0),
    ],
)
@pytest.mark.parametrize("order", ["sent first", "written first", "together"])
async def test_a_response_is_what_is_written_within_a_day_after_it_was_sent(postgres_url, written_after, counts, order):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(2)
        campaign = await bench.start()
        await bench.run()
        sent = outcome(deliveries.MessageSent, campaign, 1, NOW)
        written = message(1, NOW + written_after)
        batches = {
            "sent first": ([sent], [written]),
            "written first": ([written], [sent]),
            "together": ([written, sent],),
        }[order]
        metrics = await tracked(bench, campaign, *batches)
        assert metrics.responses == counts
        assert metrics_from_events(campaign, [*await bench.events(), sent, written]) == metrics


async def test_a_client_who_writes_all_day_is_kept_within_bounds(postgres_url):
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(1)
        campaign = await bench.start()
        await bench.run()
        batch = [message(1, NOW + number * SECOND, again=number) for number in range(1, 301)]
        await tracked(bench, campaign, batch, batch)
        [[kept]] = await bench.rows("SELECT cardinality(heard_at) FROM outreach.campaign_targets")
        assert kept == 100
        metrics = await tracked(bench, campaign, [outcome(deliveries.MessageSent, campaign, 1, NOW + 299 * SECOND)])
        assert metrics.responses == 1


def a_history(chance: random.Random, campaigns: Sequence[str]) -> Iterator[tuple[str, Envelope]]:
    """Whatever could have happened to a few clients, each event with its topic, in the order of each topic."""
    for campaign in campaigns:
        for number in range(1, CLIENTS + 1):
            at = NOW + chance.randrange(100) * SECOND
            if chance.random() < 0.2:
                yield DIALOG, decided(campaign, number, "opted_out")
                continue
            yield DIALOG, decided(campaign, number, None)
            fates: list[list[type[Event]]] = [
                [deliveries.MessageFailed],
                [deliveries.MessageBlocked],
                [deliveries.MessageSent],
                [deliveries.MessageSent, deliveries.MessageDelivered],
                [deliveries.MessageSent, deliveries.MessageUndelivered, deliveries.MessageDelivered],
                [deliveries.MessageSent, deliveries.MessageUndelivered],
                [deliveries.MessageSent, deliveries.MessageDelivered, deliveries.MessageRead],
            ]
            for version, event in enumerate(chance.choice(fates), start=1):
                yield NOTIFY, outcome(event, campaign, number, at, version)
    for number in range(1, CLIENTS + 1):
        for again in range(chance.randrange(4)):
            yield INBOUND, message(number, NOW + chance.randrange(-50, 100_000) * SECOND, again=again)


def interleaved(chance: random.Random, history: Sequence[tuple[str, Envelope]]) -> Iterator[list[Envelope]]:
    """The same in batches as a consumer may see them: topics side by side, some batches twice."""
    waiting = {topic: [each for at, each in history if at == topic] for topic in (DIALOG, NOTIFY, INBOUND)}
    while any(waiting.values()):
        batch = []
        for _ in range(chance.randrange(1, 30)):
            topic = chance.choice([topic for topic, left in waiting.items() if left] or [DIALOG])
            if waiting[topic]:
                batch.append(waiting[topic].pop(0))
        yield batch
        if chance.random() < 0.3:
            yield batch


@pytest.mark.parametrize("seed", range(12))
async def test_the_table_and_the_ledger_count_the_same(postgres_url, seed):
    chance = random.Random(seed)
    async with campaigning(postgres_url) as bench:
        await bench.add_clients(CLIENTS)
        campaigns = [await bench.start(kind=kind) for kind in ("PROMOTIONAL", "TRANSACTIONAL")]
        await bench.run()
        history = list(a_history(chance, campaigns))
        batches = list(interleaved(chance, history))
        ledger = [*await bench.events(), *(each for _, each in history)]
        chance.shuffle(ledger)
        counted = [await tracked(bench, campaign, *batches) for campaign in campaigns]
        assert counted == [metrics_from_events(campaign, ledger) for campaign in campaigns]
        assert any(each.responses for each in counted)


async def test_the_whole_service_tells_the_clients_and_counts_what_came_of_it(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(INBOUND, *(message(number, NOW - SECOND) for number in range(1, 8)))
        line.tell(DIALOG, told(dialog.ClientOptedOut(), key=conversation(7), number=2))
        await handled(service, line)
        async with campaigning(postgres_url) as bench:
            campaign = await bench.start(rate_per_s=1_000, batch_size=3)
        await eventually(lambda: line.on(INBOUND, NoticeDue), "the first batch is on its topic")
        service.outreach.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]  # it is a manual one
        service.sweep.wake()
        await eventually(lambda: len(line.on(INBOUND, NoticeDue)) == 6, "all are told")
        line.tell(NOTIFY, *(outcome(deliveries.MessageSent, campaign, number, NOW) for number in range(1, 7)))
        line.tell(INBOUND, message(2, NOW + SECOND, again=2))
        await handled(service, line)
        async with campaigning(postgres_url) as bench:
            metrics = await tracked(bench, campaign)
    everything = [each for topic in ("chat.outreach", INBOUND, DIALOG, NOTIFY) for each in line.on(topic)]
    assert metrics == Metrics(targeted=6, skipped=0, sent=6, delivered=0, read=0, failed=0, responses=1)
    assert metrics_from_events(campaign, everything) == metrics
