"""A restore: history on the topics of a new broker, word for word, and every service where it was."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from chatledger import topics
from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.adapters.kafka import KafkaPublisher, start_producer
from chatledger.errors import ConfigurationError
from chatledger.events.codec import from_wire
from chatledger.events.envelope import caused_by
from chatledger.events.inbound import DeliveryReported
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger_cli import restoring
from chatledger_cli.restoring import Watch
from chatledger_ledger import refill
from chatledger_ledger.restore_plan import EVERYWHERE, Wanted
from chatledger_ledger.verification import BrokerAddress, verify
from tests.support.dialog import message, partition_of
from tests.support.ledger import history
from tests.support.restore import (
    LostBroker,
    committed,
    connected,
    id_of,
    positions,
    read_all,
    restored_to,
    rows,
    set_position,
    set_up,
)

pytestmark = pytest.mark.postgres

CLIENTS = ("77", "78", "79", "80", "81", "82")
PLACED = [each for number, client in enumerate(CLIENTS, start=1) for each in history(client, invoice=number)]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def ids_at(placed, at: TopicPartition) -> list[str]:
    """The ids of events in one partition, in order."""
    return [
        envelope.id
        for topic, envelope in placed
        if topic == at.topic and partition_of(envelope.conversation.encode()) == at.partition
    ]


async def recorded_and_lost(url: str, placed=PLACED) -> LostBroker:
    """A broker that was lost when everything on it was recorded."""
    await set_up(url)
    lost = LostBroker("lost")
    await lost.record(url, lost.put(placed))
    return lost


async def test_every_event_comes_back_word_for_word_to_its_partition(postgres_url, broker):
    await recorded_and_lost(postgres_url)
    restored = await restored_to(broker, postgres_url)
    assert restored.refilled.events == len(PLACED)
    assert (restored.conversations, restored.lost) == (len(CLIENTS), 0)
    there = await read_all(broker.bootstrap_servers)
    for at in EVERYWHERE:
        assert [id_of(record) for record in there[at]] == ids_at(PLACED, at), at
    by_id = {envelope.id: envelope for _, envelope in PLACED}
    for record in [record for records in there.values() for record in records]:
        assert from_wire(record.headers, record.value) == by_id[id_of(record)]
        assert record.key == by_id[id_of(record)].conversation.encode()
    ends = {at: len(ids_at(PLACED, at)) for at in EVERYWHERE}
    assert await positions(postgres_url, "ledger", broker.incarnation) == ends
    address = BrokerAddress(bootstrap_servers=broker.bootstrap_servers, incarnation=broker.incarnation)
    report = await verify(postgres_url, broker=address)
    assert report.violations == 0, report.findings


async def test_a_service_goes_on_where_it_was(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    at = next(at for at in EVERYWHERE if at.topic == topics.DIALOG and len(ids_at(PLACED, at)) > 10)
    await set_position(postgres_url, "notify", lost.incarnation, at, 7)
    await restored_to(broker, postgres_url)
    now = await positions(postgres_url, "notify", broker.incarnation)
    assert now[at] == 7
    # It had read nothing of the others since it began, and it reads two topics.
    assert {each.topic for each in now} == {topics.INBOUND, topics.DIALOG}
    assert all(offset == 0 for each, offset in now.items() if each != at)


async def test_a_service_that_was_never_there_begins_at_the_beginning(postgres_url, broker):
    await recorded_and_lost(postgres_url)
    await restored_to(broker, postgres_url)
    assert await positions(postgres_url, "crm", broker.incarnation) == {}


async def test_what_came_twice_was_recorded_once_and_is_counted_once(postgres_url, broker):
    await set_up(postgres_url)
    lost = LostBroker("lost")
    once = PLACED[:10]
    await lost.record(postgres_url, lost.put([*once, *once, *PLACED[10:]]))
    at = next(at for at in EVERYWHERE if at.topic == topics.INBOUND and len(ids_at(once, at)) > 1)
    twice = len(ids_at(once, at)) * 2
    await set_position(postgres_url, "notify", "lost", at, twice + 1)
    await restored_to(broker, postgres_url)
    assert (await positions(postgres_url, "notify", broker.incarnation))[at] == twice // 2 + 1


@pytest.mark.parametrize("seed", range(4))
async def test_over_any_brokers_nothing_is_handled_twice_or_left_out(seed, postgres_url):
    """A consumer that only counts, by chance at any place of each partition when its broker is lost, four times."""
    chance = random.Random(seed)
    await set_up(postgres_url)
    handled: dict[TopicPartition, list[str]] = {at: [] for at in EVERYWHERE}
    read_by_notify = [at for at in EVERYWHERE if at.topic in (topics.INBOUND, topics.DIALOG)]
    on_topics: dict[TopicPartition, list[str]] = {at: [] for at in EVERYWHERE}
    current, place = LostBroker("first"), dict.fromkeys(read_by_notify, 0)
    for life in range(4):
        new = [each for client in range(3) for each in history(f"{seed}-{life}-{client}", invoice=None)]
        repeated = chance.sample(new, len(new) // 4)
        records = current.put([*new, *repeated])
        for record in records:
            on_topics[TopicPartition(record.topic, record.partition)].append(id_of(record))
        await current.record(postgres_url, records)
        for at in read_by_notify:
            upto = chance.randint(place[at], len(on_topics[at]))
            fresh = [each for each in on_topics[at][place[at] : upto] if each not in handled[at]]
            handled[at] += list(dict.fromkeys(fresh))
            if life == 0:
                await set_position(postgres_url, "notify", current.incarnation, at, upto)
            else:
                await rows_of_update(postgres_url, current.incarnation, at, upto)
        with EmbeddedBroker() as broker:
            wanted = Wanted(only_unhandled=chance.random() < 0.5)
            await restored_to(broker, postgres_url, wanted)
            there = await read_all(broker.bootstrap_servers)
            place = dict((await positions(postgres_url, "notify", broker.incarnation)).items())
        on_topics = {at: [id_of(record) for record in records] for at, records in there.items()}
        every = await rows(postgres_url, "SELECT topic, partition, id::text FROM ledger.events ORDER BY position")
        for at in read_by_notify:
            before, after = on_topics[at][: place[at]], on_topics[at][place[at] :]
            everything = [event_id for *where, event_id in every if TopicPartition(*where) == at]
            assert set(before) <= set(handled[at]), (life, at)
            assert after == [each for each in everything if each not in handled[at]], (life, at)
        current = LostBroker(broker.incarnation, {at: len(ids) for at, ids in on_topics.items()})


async def rows_of_update(url: str, incarnation: str, at: TopicPartition, offset: int) -> None:
    """Move a position of notify on."""
    await rows(
        url,
        "UPDATE notify.positions SET next_offset = %s WHERE incarnation = %s AND topic = %s AND partition = %s"
        " RETURNING 1",
        *(offset, incarnation, at.topic, at.partition),
    )


async def test_with_only_what_is_unhandled_nothing_else_is_put_back(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    read = [at for at in EVERYWHERE if at.topic in (topics.INBOUND, topics.DIALOG)]
    for at in read:
        left = 2 if at.topic == topics.DIALOG and ids_at(PLACED, at) else 0
        await set_position(postgres_url, "notify", lost.incarnation, at, len(ids_at(PLACED, at)) - left)
    await restored_to(broker, postgres_url, Wanted(only_unhandled=True))
    there = await read_all(broker.bootstrap_servers)
    for at in EVERYWHERE:
        expected = ids_at(PLACED, at)[-2:] if at.topic == topics.DIALOG else []
        assert [id_of(record) for record in there[at]] == expected, at
    now = await positions(postgres_url, "notify", broker.incarnation)
    assert now == dict.fromkeys(read, 0)


async def test_what_is_too_much_for_the_broker_is_left_to_the_ledger(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    at = max((at for at in EVERYWHERE if at.topic == topics.DIALOG), key=lambda at: len(ids_at(PLACED, at)))
    await set_position(postgres_url, "notify", lost.incarnation, at, 1)
    await restored_to(broker, postgres_url, Wanted(only_unhandled=True, bytes_max=4_000))
    there = (await read_all(broker.bootstrap_servers))[at]
    assert 0 < len(there) < len(ids_at(PLACED, at)) - 1
    assert [id_of(record) for record in there] == ids_at(PLACED, at)[-len(there) :]
    assert (await positions(postgres_url, "notify", broker.incarnation))[at] == 0


async def test_since_a_time_comes_what_was_recorded_since_and_what_is_unhandled(postgres_url, broker):
    await set_up(postgres_url)
    lost = LostBroker("lost")
    await lost.record(postgres_url, lost.put(PLACED[:30]))
    [(first_half,)] = await rows(postgres_url, "SELECT clock_timestamp()")
    await lost.record(postgres_url, lost.put(PLACED[30:]))
    for at in EVERYWHERE:
        if at.topic in (topics.INBOUND, topics.DIALOG):
            unhandled = 1 if at.topic == topics.DIALOG and at.partition == behind() else 0
            handled = 0 if unhandled else len(ids_at(PLACED, at))
            await set_position(postgres_url, "notify", lost.incarnation, at, handled)
    await restored_to(broker, postgres_url, Wanted(since=first_half))
    there = await read_all(broker.bootstrap_servers)
    for at in EVERYWHERE:
        is_behind = at == TopicPartition(topics.DIALOG, behind())
        expected = ids_at(PLACED if is_behind else PLACED[30:], at)
        assert [id_of(record) for record in there[at]] == expected, at


def behind() -> int:
    """A partition with events in both halves."""
    return next(
        number
        for number in range(topics.PARTITIONS)
        if all(ids_at(half, TopicPartition(topics.DIALOG, number)) for half in (PLACED[:30], PLACED[30:]))
    )


async def test_the_dialog_decides_again_what_left_nothing_in_history(postgres_url, broker):
    said = history("77", invoice=None)
    last_input = max(place for place, (topic, _) in enumerate(said) if topic == topics.INBOUND)
    more = [(topics.INBOUND, message("77", number, "hello?")) for number in (50, 51)]
    await recorded_and_lost(postgres_url, [*said[: last_input + 1], *more])
    await restored_to(broker, postgres_url)
    at = TopicPartition(topics.INBOUND, partition_of(b"order-form/chat2desk/77"))
    inputs = [id_of(record) for record in (await read_all(broker.bootstrap_servers))[at]]
    offsets = await committed(broker.bootstrap_servers)
    assert inputs[offsets.pop(at.partition) :] == [said[last_input][1].id, *(each.id for _, each in more)]
    assert set(offsets.values()) == {0}


async def test_inputs_that_need_no_decision_are_not_decided_again(postgres_url, broker):
    said = history("77", invoice=None)
    last = said[-1][1]
    reported = caused_by(
        last,
        [
            DeliveryReported(
                channel="chat2desk",
                client_id="77",
                provider_message_id="1",
                delivery_id=None,
                status="read",
                error=None,
                raw={},
            )
        ],
        source="/tests",
        stream=f"conversation-{last.conversation}",
        last_version=None,
    )
    await recorded_and_lost(postgres_url, [*said, *((topics.INBOUND, each) for each in reported)])
    await restored_to(broker, postgres_url)
    at = TopicPartition(topics.INBOUND, partition_of(last.conversation.encode()))
    there = (await read_all(broker.bootstrap_servers))[at]
    assert (await committed(broker.bootstrap_servers))[at.partition] == len(there)


async def test_what_the_ledger_wrote_itself_was_on_no_topic(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    await lost.record(
        postgres_url,
        [ConsumedRecord(topic=topics.BILLING, partition=3, offset=10_000, key=b"k", value=b"{", headers=())],
    )
    restored = await restored_to(broker, postgres_url)
    assert restored.refilled.events == len(PLACED)
    there = await read_all(broker.bootstrap_servers)
    assert [at for at, records in there.items() if at.topic == topics.DEAD and records] == []


class Stopped(Exception):
    """In the middle."""


async def test_a_restore_that_was_cut_off_is_gone_on_with(postgres_url, broker, monkeypatch):
    lost = await recorded_and_lost(postgres_url)
    at = next(at for at in EVERYWHERE if at.topic == topics.DIALOG and len(ids_at(PLACED, at)) > 10)
    await set_position(postgres_url, "notify", lost.incarnation, at, 7)
    monkeypatch.setattr(refill, "RECORDS_PER_PUBLISH", 5)
    for rows_until_then in (5, 20, 40):

        def stop(rows: int, left: list[int] = [rows_until_then]) -> None:  # noqa: B006  # counts down over the calls
            left[0] -= rows
            if left[0] <= 0:
                raise Stopped

        with pytest.raises(Stopped):
            await restored_to(broker, postgres_url, watch=Watch(advance=stop))
        assert await positions(postgres_url, "notify", broker.incarnation) == {}
    restored = await restored_to(broker, postgres_url)
    assert restored.refilled.events == len(PLACED)
    there = await read_all(broker.bootstrap_servers)
    for each in EVERYWHERE:
        assert [id_of(record) for record in there[each]] == ids_at(PLACED, each), each
    assert (await positions(postgres_url, "notify", broker.incarnation))[at] == 7


async def test_a_restore_that_was_cut_off_at_its_end_is_gone_on_with(postgres_url, broker):
    await recorded_and_lost(postgres_url)

    def stop(part: str, rows: int) -> None:
        if part == "positions":
            raise Stopped

    with pytest.raises(Stopped):
        await restored_to(broker, postgres_url, watch=Watch(begin=stop))
    await restored_to(broker, postgres_url)
    there = await read_all(broker.bootstrap_servers)
    assert sum(len(records) for records in there.values()) == len(PLACED)
    ends = {at: len(ids_at(PLACED, at)) for at in EVERYWHERE}
    assert await positions(postgres_url, "ledger", broker.incarnation) == ends


async def test_what_somebody_wrote_in_between_is_not_taken_for_history(postgres_url, broker, monkeypatch):
    await recorded_and_lost(postgres_url)
    monkeypatch.setattr(refill, "RECORDS_PER_PUBLISH", 5)

    def stop(rows: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await restored_to(broker, postgres_url, watch=Watch(advance=stop))
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.INBOUND, [message("77", 99, "I am early")])
    finally:
        await producer.stop()
    with pytest.raises(ConfigurationError, match="somebody has written"):
        await restored_to(broker, postgres_url)


async def test_a_dry_run_changes_nothing(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    await set_position(postgres_url, "notify", lost.incarnation, TopicPartition(topics.DIALOG, 0), 1)
    restored = await restored_to(broker, postgres_url, dry_run=True)
    assert (restored.refilled.events, restored.conversations) == (len(PLACED), len(CLIENTS))
    assert not any((await read_all(broker.bootstrap_servers)).values())
    assert await positions(postgres_url, "notify", broker.incarnation) == {}
    assert await rows(postgres_url, "SELECT FROM ledger.restores") == []


async def test_a_service_that_runs_stands_in_the_way(postgres_url, broker, monkeypatch):
    await recorded_and_lost(postgres_url)
    monkeypatch.setattr(restoring, "DRAINED_WITHIN_S", 0.1)
    async with connected(postgres_url) as running:
        await running.execute("SELECT pg_advisory_lock(hashtext('chatledger notify'), 2)")
        with pytest.raises(ConfigurationError, match="still running on this database: notify"):
            await restored_to(broker, postgres_url)


async def test_what_came_to_the_new_broker_first_is_read_behind_history(postgres_url, broker):
    lost = await recorded_and_lost(postgres_url)
    early = [message("77", 98, "I am"), message("77", 99, "early")]
    at = TopicPartition(topics.INBOUND, partition_of(early[0].conversation.encode()))
    await set_position(postgres_url, "notify", lost.incarnation, at, len(ids_at(PLACED, at)))
    producer = await start_producer(broker.bootstrap_servers)
    try:
        await KafkaPublisher(producer).publish(topics.INBOUND, early)
    finally:
        await producer.stop()
    await restored_to(broker, postgres_url, ends={at: 2})
    there = [id_of(record) for record in (await read_all(broker.bootstrap_servers))[at]]
    first = [each.id for each in early]
    assert there == [*first, *ids_at(PLACED, at), *first]
    for service in ("notify", "ledger"):
        assert (await positions(postgres_url, service, broker.incarnation))[at] == len(there) - 2
    assert (await committed(broker.bootstrap_servers))[at.partition] == len(there) - 2
