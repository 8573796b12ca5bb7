"""The relay that the services' outboxes share: one at a time, to the last event, also when it is told to stop."""

from __future__ import annotations

import asyncio

import pytest

from chatledger.adapters.postgres import Connection
from chatledger.adapters.relay import BATCH_EVENTS_MAX, OutboxRelay
from chatledger.errors import BrokerUnavailable, OutsideUnavailable

pytestmark = pytest.mark.postgres
WAIT_S = 20


class Outbox:
    """An outbox of so many events. `stepped` is set with every step."""

    def __init__(self, events: int = 0) -> None:
        self.events, self.steps = events, 0
        self.away = False
        self.stepped = asyncio.Event()

    async def step(self, connection: Connection) -> int:
        self.steps += 1
        self.stepped.set()
        if self.away:
            raise BrokerUnavailable
        published = min(self.events, BATCH_EVENTS_MAX)
        self.events -= published
        return published


async def test_one_works_at_a_time_and_the_next_takes_over(postgres_url: str) -> None:
    first, second = Outbox(), Outbox()
    working, waiting = OutboxRelay(first.step, name="a relay"), OutboxRelay(second.step, name="a relay")
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(working.run(postgres_url))
        await first.stepped.wait()
        tasks.create_task(waiting.run(postgres_url))
        for _ in range(3):
            first.stepped.clear()
            working.wake()
            await first.stepped.wait()
        assert second.steps == 0
        working.close()
        await ending
        await second.stepped.wait()
        waiting.close()


async def test_relays_of_other_names_are_not_waited_for(postgres_url: str) -> None:
    outboxes = [Outbox(), Outbox()]
    relays = [OutboxRelay(outbox.step, name=f"relay {number}") for number, outbox in enumerate(outboxes)]
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        for relay in relays:
            tasks.create_task(relay.run(postgres_url))
        for outbox in outboxes:
            await outbox.stepped.wait()
        for relay in relays:
            relay.close()


async def test_what_was_committed_before_it_is_closed_is_published(postgres_url: str) -> None:
    outbox = Outbox(events=3 * BATCH_EVENTS_MAX + 1)
    relay = OutboxRelay(outbox.step, name="a relay")
    relay.close()
    async with asyncio.timeout(WAIT_S):
        await relay.run(postgres_url)
    assert outbox.events == 0


async def test_closed_while_the_broker_is_away_it_ends(postgres_url: str) -> None:
    outbox = Outbox(events=1)
    outbox.away = True
    relay = OutboxRelay(outbox.step, name="a relay")
    async with asyncio.timeout(WAIT_S):
        running = asyncio.create_task(relay.run(postgres_url))
        await outbox.stepped.wait()
        relay.close()
        await running
    assert outbox.events == 1


async def test_a_database_that_is_away_ends_it() -> None:
    with pytest.raises(OutsideUnavailable, match="Postgres does not answer the relay"):
        await OutboxRelay(Outbox().step, name="a relay").run("postgresql://nobody@127.0.0.1:1/nothing")
