"""What a process that ended at the wrong moment leaves, and that the next one sends nothing twice and loses nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta

import pytest

from chatledger.adapters.clock import ManualClock
from chatledger.adapters.memory import MemoryPublisher
from chatledger.adapters.postgres import open_pool
from chatledger.errors import BrokerUnavailable
from chatledger.events import dialog, outreach
from chatledger.events.codec import to_wire
from chatledger.events.letters import RecordDeadLettered
from chatledger.events.orders import InvoicePaid
from chatledger.events.outreach import ReminderCancelled, ReminderDue, ReminderScheduled
from chatledger.topics import BILLING, DEAD, DIALOG, INBOUND, OUTREACH
from chatledger_outreach.assembly import set_up_database, wired
from chatledger_outreach.jobs import set_up_jobs, with_search_path
from chatledger_outreach.journal import Conflict, caused, decided
from chatledger_outreach.reminding import TASK
from tests.support.outreach import (
    CLIENT,
    NOW,
    PROJECTS,
    Line,
    abandoned,
    eventually,
    handled,
    invoice,
    pass_time,
    rows,
    run_until_it_dies,
    settled,
    told,
    with_terms,
    worker,
)

pytestmark = pytest.mark.postgres


class Killed(Exception):
    """Stands for the end of the process."""


class DyingPublisher(MemoryPublisher):
    """Ends the process at a publication to one topic: before the broker has it, or after."""

    def __init__(self, line: Line, *, topic: str, after: bool) -> None:
        super().__init__(broker=line.broker)
        self._topic, self._after = topic, after

    async def publish(self, topic, envelopes):
        if topic != self._topic or self._after:
            await super().publish(topic, envelopes)
        if topic == self._topic:
            raise Killed


@pytest.mark.parametrize("after", [False, True], ids=["before the broker has it", "before it is marked"])
async def test_a_restart_at_the_moment_of_sending_sends_the_same_event(postgres_url, after):
    line = Line()
    line.tell(DIALOG, abandoned())
    with pytest.raises(ExceptionGroup) as ended:
        await run_until_it_dies(postgres_url, line, publisher=DyingPublisher(line, topic=INBOUND, after=after))
    assert ended.group_contains(Killed)
    assert len(line.on(INBOUND)) == after
    async with worker(postgres_url, line, clock=ManualClock(NOW + timedelta(hours=1))) as service:
        await eventually(lambda: len(line.on(INBOUND)) == 1 + after, "the notice is there")
        await settled(service, lambda: _all_published(service), "and is marked")
        service.sweep.wake()
        await handled(service, line)
    assert len({each.id for each in line.on(INBOUND)}) == 1
    assert {each.time for each in line.on(INBOUND)} == {NOW}
    assert len({each.id for each in line.on(OUTREACH)}) == 2


async def _all_published(service) -> bool:
    return await rows(service, "SELECT count(*) FROM outreach.events WHERE published_at IS NULL") == [(0,)]


async def test_a_broker_that_is_away_delays_and_loses_nothing(postgres_url):
    line = Line()
    publisher = MemoryPublisher(broker=line.broker, available=False)
    line.tell(DIALOG, abandoned())
    async with worker(postgres_url, line, publisher=publisher) as service:
        await settled(service, lambda: _due(service), "it is due all the same")
        assert line.on(INBOUND) == []
        publisher.available = True
        await eventually(lambda: line.on(INBOUND), "then it is published")
    assert [each.data.type for each in line.on(OUTREACH)] == ["reminder.scheduled", "reminder.due"]


async def _due(service) -> bool:
    return await rows(service, "SELECT status FROM outreach.reminders") == [("due",)]


async def test_a_reminder_whose_job_was_lost_is_found_by_the_sweep(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)))
        await eventually(lambda: line.on(OUTREACH), "it is scheduled")
        await rows(service, "DELETE FROM procrastinate.procrastinate_jobs RETURNING 1")
        pass_time(service, clock, timedelta(days=20))
        await eventually(lambda: line.on(INBOUND), "it is sent")


async def test_the_reminders_of_a_project_that_has_stopped_reminding_wait(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)))
        await eventually(lambda: line.on(OUTREACH), "it is scheduled")
    clock.advance(timedelta(days=20))
    async with worker(postgres_url, line, clock=clock, projects={}) as service:
        assert await service.sweep.once() == 0
        [(reminder,)] = await rows(service, "SELECT id FROM outreach.reminders")
        await service.outreach.jobs.defer(None, TASK, None, "now", reminder_id=reminder)
        await settled(service, lambda: _no_jobs_at_once(service), "the job ran")
        assert await rows(service, "SELECT status FROM outreach.reminders") == [("scheduled",)]
    async with worker(postgres_url, line, clock=clock):
        await eventually(lambda: line.on(INBOUND), "it is sent when the project reminds again")


async def _no_jobs_at_once(service) -> bool:
    waiting = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE scheduled_at IS NULL"
    return await rows(service, waiting) == [(0,)]


async def test_a_job_that_died_with_its_worker_is_forgotten_and_its_reminder_is_not(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)))
        await eventually(lambda: line.on(OUTREACH), "it is scheduled")
        # What a worker leaves that was killed: the job in hand, and nobody who has it.
        await rows(
            service, "UPDATE procrastinate.procrastinate_jobs SET status = 'doing', worker_id = NULL RETURNING 1"
        )
        pass_time(service, clock, timedelta(days=20))
        await eventually(lambda: line.on(INBOUND), "it is sent")
        await settled(service, lambda: _no_jobs(service), "no job is left")


async def _no_jobs(service) -> bool:
    return await rows(service, "SELECT count(*) FROM procrastinate.procrastinate_jobs") == [(0,)]


async def test_a_job_that_runs_twice_does_its_thing_once(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        line.tell(DIALOG, abandoned())
        await eventually(lambda: line.on(INBOUND), "it is sent")
        [(reminder,)] = await rows(service, "SELECT id FROM outreach.reminders")
        for number in range(3):
            await service.outreach.jobs.defer(None, TASK, None, f"again {number}", reminder_id=reminder)
        await service.outreach.jobs.defer(None, TASK, None, "none", reminder_id="unknown")
        await settled(service, lambda: _no_jobs(service), "they ran")
        await handled(service, line)
    assert len(line.on(INBOUND)) == 1
    assert [each.data.type for each in line.on(OUTREACH)] == ["reminder.scheduled", "reminder.due"]


async def test_a_job_of_a_cancelled_reminder_does_nothing(postgres_url):
    line, clock = Line(), ManualClock(NOW)
    async with worker(postgres_url, line, clock=clock) as service:
        paid = told(InvoicePaid(invoice_id="inv-1"), stream="invoice-inv-1", number=2)
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)), paid)
        await eventually(lambda: line.on(OUTREACH, ReminderCancelled), "it is cancelled")
        clock.advance(timedelta(days=20))
        await rows(service, "UPDATE procrastinate.procrastinate_jobs SET scheduled_at = NULL RETURNING 1")
        await settled(service, lambda: _no_jobs(service), "its job ran")
    assert line.on(INBOUND) == []
    assert len(line.on(OUTREACH)) == 2


async def test_a_task_that_raises_is_tried_again(postgres_url):
    line, tries = Line(), []
    async with worker(postgres_url, line) as service:

        async def flaky(word: str) -> None:
            tries.append(word)
            if len(tries) == 1:
                raise Killed

        service.outreach.jobs.add("flaky", flaky)
        await service.outreach.jobs.defer(None, "flaky", None, "flaky", word="hello")
        await eventually(lambda: tries == ["hello", "hello"], "it is tried twice")


@asynccontextmanager
async def parts(url: str):
    """The parts without a running service."""
    await set_up_database(url)
    pool = await open_pool(with_search_path(url), connections_max=4)
    try:
        yield await wired(pool, PROJECTS, clock=ManualClock(NOW))
    finally:
        await pool.close()


async def test_a_job_is_deferred_with_its_transaction_or_not_at_all(postgres_url):
    async with parts(postgres_url) as outreach:
        with suppress(Killed):
            async with outreach.transaction() as connection:
                assert await outreach.jobs.defer(connection, TASK, None, "one", reminder_id="r")
                raise Killed
        async with outreach.transaction() as connection:
            assert await outreach.jobs.defer(connection, TASK, NOW, "one", reminder_id="r")
            assert not await outreach.jobs.defer(connection, TASK, None, "one", reminder_id="r")
            rows = await connection.execute("SELECT queueing_lock, scheduled_at FROM procrastinate_jobs")
            assert await rows.fetchall() == [("one", NOW)]


async def test_the_schemas_are_made_once_by_whoever_is_first(postgres_url):
    await asyncio.gather(*(set_up_database(postgres_url) for _ in range(3)))
    await set_up_jobs(postgres_url)
    async with parts(postgres_url) as outreach, outreach.transaction() as connection:
        rows = await connection.execute("SELECT count(*) FROM procrastinate_jobs")
        assert await rows.fetchall() == [(0,)]


def scheduled(number: int, version: int):
    event = ReminderScheduled(reminder_id="r", kind="CUSTOM", about=None, text="x", due=NOW)
    cause = caused(told(dialog.ConversationRestarted(), number=number))
    return decided([event], cause, key=CLIENT, stream="reminder-r", last_version=version - 1)


async def test_a_stream_takes_each_version_once_and_each_event_once(postgres_url):
    async with parts(postgres_url) as outreach:
        first, same, other = scheduled(1, 1), scheduled(1, 1), scheduled(2, 1)
        async with outreach.transaction() as connection:
            await outreach.journal.append(connection, first)
            await outreach.journal.append(connection, same)
            with pytest.raises(Conflict, match="reminder-r has a version 1 already"):
                await outreach.journal.append(connection, [*scheduled(3, 2), *other])
            # The transaction goes on: what the refused append did is undone, and nothing else.
            await outreach.journal.append(connection, scheduled(3, 2))
        async with outreach.transaction() as connection:
            assert await outreach.journal.read(connection, "reminder-r") == [*first, *scheduled(3, 2)]


async def test_the_line_of_a_project_that_reminds_nobody_is_passed_over(postgres_url):
    line = Line()
    async with worker(postgres_url, line) as service:
        key = "order-form/chat2desk/77"
        line.tell(DIALOG, told(dialog.ConversationStarted(flow="order_form", language="en"), key=key))
        line.broker.append(DIALOG, key.encode(), b"{", (("ce_type", b"conversation.started"),))
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5), key=key))
        line.tell(DIALOG, told(dialog.TimerRequested(kind="expiry", due=NOW)))
        await handled(service, line)
        assert await rows(service, "SELECT count(*) FROM outreach.clients") == [(0,)]
    assert line.on(OUTREACH) == line.on(DEAD) == []


async def test_a_record_that_cannot_be_taken_goes_to_the_dead_letters_and_the_others_are_taken(postgres_url):
    line = Line()
    unreadable = to_wire(abandoned(number=3))
    line.tell(DIALOG, abandoned(number=2))
    line.broker.append(DIALOG, unreadable.key, b"[]", unreadable.headers)
    # A currency that nobody knows: readable, but no amount can be written in it.
    line.tell(BILLING, invoice(due_on=date(2026, 12, 5), currency="XQQ"), invoice(due_on=date(2026, 12, 5), id="ok"))
    async with worker(postgres_url, line) as service:
        await handled(service, line)
        await eventually(lambda: len(line.on(OUTREACH, ReminderScheduled)) == 2, "the others are taken")
    letters = line.data(DEAD, RecordDeadLettered)
    assert sorted((each.topic, each.service) for each in letters) == [
        (BILLING, "outreach"),
        (DIALOG, "outreach"),
    ]
    assert len(line.on(OUTREACH, ReminderDue)) == 1


async def test_a_broker_that_does_not_take_the_dead_letters_keeps_the_position_where_it_is(postgres_url):
    line = Line()
    unreadable = to_wire(abandoned())
    line.broker.append(DIALOG, unreadable.key, b"[]", unreadable.headers)
    away = MemoryPublisher(broker=line.broker, available=False)
    with pytest.raises(ExceptionGroup) as ended:
        await run_until_it_dies(postgres_url, line, publisher=away)
    assert ended.group_contains(BrokerUnavailable)
    async with worker(postgres_url, line) as service:
        await handled(service, line)
    assert len(line.on(DEAD)) == 1


async def test_what_the_project_does_not_want_is_not_sent(postgres_url):
    line = Line()
    nothing = with_terms(cart_abandoned=False, payment_due_days_before=None, restock=False)
    async with worker(postgres_url, line, projects=nothing) as service:
        line.tell(DIALOG, abandoned())
        line.tell(BILLING, invoice(due_on=date(2026, 12, 5)))
        await handled(service, line)
        assert await rows(service, "SELECT count(*) FROM outreach.events") == [(0,)]
    assert line.on(OUTREACH, outreach.ReminderScheduled) == []
