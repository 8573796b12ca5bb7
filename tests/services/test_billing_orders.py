"""Batches of chat.dialog through the handler, over memory and over Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from eventsourcing.persistence import DataError, Tracking

from chatledger import topics
from chatledger.errors import BrokerUnavailable
from chatledger.events.dialog import OrderCancelled
from chatledger.ports import ConsumedRecord, TopicPartition
from chatledger_billing.app import set_up_database
from chatledger_billing.decisions import Decision
from chatledger_billing.invoices import invoice_id_of
from chatledger_billing.numbering import NumbersGiven
from chatledger_billing.store import BillingStore, memory_store, postgres_store
from tests.services.billing_given import (
    RememberedPublisher,
    StoreMaker,
    billing_on,
    cause,
    order_records,
    placed,
    record,
    unpriced,
)

FIRST = TopicPartition(topics.DIALOG, 0)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def open_store(request: pytest.FixtureRequest) -> Iterator[StoreMaker]:
    """Opens the same store again and again, as one process after another does."""
    if request.param == "memory":
        store = memory_store()
        yield lambda: store
    else:
        url = request.getfixturevalue("postgres_url")
        asyncio.run(set_up_database(url))
        yield lambda: postgres_store(url)


def numbers(store: BillingStore) -> list[str]:
    """The numbers of all invoices, in the order in which they were recorded."""
    log = [decision.event for _, decision in store.follow(0, 10_000)]
    return [number for event in log if (number := getattr(event, "number", None))]


async def test_a_placed_order_is_created_confirmed_and_invoiced(open_store: StoreMaker) -> None:
    publisher, store = RememberedPublisher(), open_store()
    with billing_on(store, publisher) as billing:
        await billing.biller.handle(order_records([1]))
        order, invoice = store.order(placed(1).order_id), store.invoice(invoice_id_of(placed(1).order_id))
        assert order is not None
        assert invoice is not None
        assert (order.status, order.version) == ("confirmed", 2)
        assert (invoice.number, invoice.total_minor, invoice.order_id) == ("INV-2026-000001", 75_000, order.id)
        assert await billing.positions.load([FIRST]) == {FIRST: 1}
        assert store.order("another") is None
        assert store.invoice("another") is None


async def test_the_same_order_again_changes_nothing(open_store: StoreMaker) -> None:
    records = order_records([1, 2, 3])
    with billing_on(open_store(), RememberedPublisher()) as billing:
        await billing.biller.handle(records)
    with billing_on(open_store(), RememberedPublisher(), incarnation="second") as billing:
        before = open_store().follow(0, 100)
        await billing.biller.handle([*records, *records])
        await billing.biller.handle(records)
        assert open_store().follow(0, 100) == before
        assert await billing.positions.load([FIRST]) == {FIRST: 3}


async def test_an_order_twice_in_one_batch_is_one_order(open_store: StoreMaker) -> None:
    once = order_records([1])[0]
    store = open_store()
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle([once, replace(once, offset=1)])
        assert numbers(store) == ["INV-2026-000001"]


async def test_a_poisonous_order_is_buried_and_the_others_pass(open_store: StoreMaker) -> None:
    good = order_records([1, 2, 3])
    rule = record(cause(placed(4, lines=()), 4), 3)
    garbage = replace(good[0], value=b"{", offset=4)
    publisher, store = RememberedPublisher(), open_store()
    with billing_on(store, publisher) as billing:
        await billing.biller.handle([good[0], rule, good[1], garbage, good[2]])
        assert numbers(store) == [f"INV-2026-00000{count}" for count in (1, 2, 3)]
        assert [(each.offset, each.service) for each in publisher.letters()] == [(3, "billing"), (4, "billing")]
        assert "at least one line" in publisher.letters()[0].reason
        ids = [envelope.id for envelope in publisher.on(topics.DEAD)]
        await billing.biller.handle([rule, garbage])
        assert [envelope.id for envelope in publisher.on(topics.DEAD)] == ids * 2


async def test_nothing_is_saved_while_a_letter_cannot_be_published(open_store: StoreMaker) -> None:
    store = open_store()
    with billing_on(store, RememberedPublisher(broken=True)) as billing:
        with pytest.raises(BrokerUnavailable):
            await billing.biller.handle([*order_records([1]), record(cause(placed(2, lines=()), 2), 1)])
        await billing.biller.save_positions()
        assert store.follow(0, 10) == []
        assert await billing.positions.load([FIRST]) == {}


async def test_other_events_move_the_position_only_when_it_is_asked_to_be_saved(open_store: StoreMaker) -> None:
    other = record(cause(OrderCancelled(reason="client")), 41)
    with billing_on(open_store(), RememberedPublisher()) as billing:
        await billing.biller.handle([other])
        assert await billing.positions.load([FIRST]) == {}
        await billing.biller.save_positions()
        assert await billing.positions.load([FIRST]) == {FIRST: 42}


async def test_a_worker_that_lost_its_partition_does_not_move_the_position_back(open_store: StoreMaker) -> None:
    records = order_records([1, 2, 3, 4])
    with billing_on(open_store(), RememberedPublisher()) as owner:
        await owner.biller.handle(records)
        await owner.biller.handle(records[:2])
        await owner.biller.handle([record(cause(OrderCancelled(reason="client")), 0)])
        await owner.biller.save_positions()
        assert await owner.positions.load([FIRST]) == {FIRST: 4}


async def test_orders_without_a_price_take_no_number(open_store: StoreMaker) -> None:
    free = record(cause(unpriced(placed(1)), 1), 0)
    store = open_store()
    with billing_on(store, RememberedPublisher()) as billing:
        await billing.biller.handle([free, *order_records([2])])
        assert numbers(store) == ["INV-2026-000001"]
        assert store.invoice(invoice_id_of(placed(1).order_id)) is None


@pytest.mark.postgres
async def test_several_workers_number_without_gaps(postgres_url: str) -> None:
    """They collide on the register's version all the time; each retries until all are through."""
    await set_up_database(postgres_url)

    async def work(partition: int) -> None:
        store = postgres_store(postgres_url)
        with billing_on(store, RememberedPublisher()) as billing:
            records = order_records(range(partition * 1000, partition * 1000 + 60), partition)
            for start in range(0, len(records), 3):
                await billing.biller.handle(records[start : start + 3])

    await asyncio.gather(work(0), work(1), work(2))
    store = postgres_store(postgres_url)
    assert numbers(store) == [f"INV-2026-{count:06d}" for count in range(1, 181)]
    given = [each.event for _, each in store.follow(0, 1000) if isinstance(each.event, NumbersGiven)]
    assert len(given) == 60
    store.close()


async def test_what_postgres_refuses_is_found_one_by_one() -> None:
    class Picky(BillingStore):
        def record(self, decisions: Sequence[Decision], trackings: Sequence[Tracking]) -> None:
            if any(decision.cause.conversation.endswith("/2") for decision in decisions):
                raise DataError("not this one")
            super().record(decisions, trackings)

    store: Any = Picky({"PERSISTENCE_MODULE": "chatledger_billing.recorders:MemoryFactory"})
    publisher = RememberedPublisher()
    with billing_on(store, publisher) as billing:
        batch: list[ConsumedRecord] = order_records([1, 2, 3])
        await billing.biller.handle(batch)
        assert [each.offset for each in publisher.letters()] == [1]
        assert numbers(store) == ["INV-2026-000001", "INV-2026-000002"]
        assert await billing.positions.load([FIRST]) == {FIRST: 3}
