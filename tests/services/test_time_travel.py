"""The past of a real ledger: at each of its positions it is the fold of what was recorded by then, and it stays so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from chatledger.errors import InvariantViolated, OutsideUnavailable
from chatledger.events.ids import order_number
from chatledger.events.orders import OrderConfirmed
from chatledger.ports import LedgerEvent
from chatledger_ledger.kinds import CLIENT
from chatledger_ledger.moments import NOW, Moment
from chatledger_ledger.time_travel import CauseOf, TimeTravel
from tests.support.ledger import Placed, as_records, history, open_ledger
from tests.support.postgres import fresh_database
from tests.support.store_history import StoreHistory, invoice_of
from tests.support.time_travel import (
    FATES,
    billing_then,
    client_then,
    conversation_then,
    in_any_order,
    ordered,
    store_client,
    time_travel,
)

pytestmark = pytest.mark.postgres
NUMBERS = count(1_000)
OFFSETS = count(0, 1_000)
UNSHRUNK = settings(deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
"""A ledger cannot be emptied to try a smaller history, and each takes seconds."""


@pytest.fixture(scope="module")
def shared_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """One ledger that only grows, whatever is recorded in it."""
    with fresh_database(postgres_server) as url:
        yield url


async def recorded(url: str, *batches: Placed) -> list[LedgerEvent]:
    """Append the batches, each in a transaction of its own, and read everything back."""
    async with open_ledger(url) as ledger:
        for batch in batches:
            await ledger.append(as_records(batch, first_offset=next(OFFSETS)))
        return [event async for event in ledger.read()]


@dataclass(repr=False)
class Recording:
    """What is to be recorded, batch by batch; too much of it to be shown when a test fails."""

    client: str
    batches: list[Placed]


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """A client of both flows and a stranger, mixed, in a few batches."""
    client = str(next(NUMBERS))
    fates = draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
    histories = [store_client(client, fates).placed, history(client, invoice=None), history(f"{client}-b", ["hi"])]
    mixed = draw(in_any_order(histories))
    cuts = sorted(draw(st.sets(st.integers(1, len(mixed) - 1), max_size=3)))
    batches = [mixed[start:end] for start, end in zip([0, *cuts], [*cuts, len(mixed)], strict=True)]
    return Recording(client=client, batches=batches)


@settings(UNSHRUNK, max_examples=6)
@given(recordings())
def test_at_every_position_the_state_is_the_fold_of_what_was_recorded_by_then(shared_url, recording):
    asyncio.run(_compare_every_position(shared_url, recording.client, recording.batches))


async def _compare_every_position(url: str, client: str, batches: list[Placed]) -> None:
    before = len(await recorded(url))
    events = await recorded(url, *batches)
    async with time_travel(url) as travel:
        things = _things(events[before:], client)
        assert {kind for kind, _ in things} == {"conversation", "order", "invoice", CLIENT}
        for reached in range(before, len(events)):
            so_far = events[: reached + 1]
            for kind, name in things:
                at = Moment(position=so_far[-1].position)
                known = await travel.state(kind, name, at)
                assert known is not None
                assert known.state == _expected(so_far, kind, name), (kind, name, at)
                assert known.events == 0 or known.last_event is not None
        # A time means as much as the position that was the last one by then.
        for event in events[before :: max(1, (len(events) - before) // 5)]:
            last_then = [each for each in events if each.recorded_at <= event.recorded_at][-1]
            for kind, name in things:
                by_time = await travel.state(kind, name, Moment(time=event.recorded_at))
                assert by_time == await travel.state(kind, name, Moment(position=last_then.position))


def _things(events: list[LedgerEvent], client: str) -> list[tuple[str, str]]:
    streams = sorted({event.envelope.stream for event in events})
    named = [tuple(stream.split("-", 1)) for stream in streams if stream.startswith(("conv", "order-", "invoice-"))]
    return [*((kind, name) for kind, name in named), (CLIENT, client)]


def _version(events: list[LedgerEvent], stream: str, version: int) -> LedgerEvent:
    return next(each for each in events if (each.envelope.stream, each.envelope.stream_version) == (stream, version))


def _expected(events: list[LedgerEvent], kind: str, name: str) -> object:
    if kind == CLIENT:
        return client_then(events, name)
    return conversation_then(events, name) if kind == "conversation" else billing_then(events, f"{kind}-{name}")


@settings(UNSHRUNK, max_examples=4)
@given(recordings(), recordings())
def test_what_was_known_at_a_moment_never_changes(shared_url, first, second):
    asyncio.run(_compare_before_and_after(shared_url, first, second))


async def _compare_before_and_after(url: str, first: Recording, second: Recording) -> None:
    cut = len(first.batches) // 2
    events = await recorded(url, *first.batches[:cut], *second.batches[:1])
    moments = [Moment(position=event.position) for event in events[-25:]]
    moments += [Moment(time=events[-1].recorded_at), Moment(position=0)]
    things = _things(events[-100:], first.client)
    async with time_travel(url) as travel:
        known = await _told(travel, things, moments)
        # What is recorded later goes on where this stopped, in the same streams.
        await recorded(url, *first.batches[cut:], *second.batches[1:])
        assert await _told(travel, things, moments) == known


async def _told(travel: TimeTravel, things: list[tuple[str, str]], moments: list[Moment]) -> list[object]:
    """What was known at each moment; that something will be there one day is not known yet."""
    asked = [await travel.state(kind, name, moment) for moment in moments for kind, name in things]
    return [None if known is None or known.last_event is None else known for known in asked]


async def test_a_difference_leads_from_one_state_to_the_other_and_names_the_events(postgres_url):
    made = store_client("77")
    events = await recorded(postgres_url, [*made.placed, *history("77", invoice=None)])
    async with time_travel(postgres_url) as travel:
        for kind, name in _things(events, "77"):
            for start, end in ((0, 20), (10, 30), (25, 25), (0, len(events))):
                earlier, later = Moment(position=start), Moment(position=end)
                found = await travel.difference(kind, name, earlier, later)
                assert found is not None
                assert found.before == await travel.state(kind, name, earlier)
                assert found.after == await travel.state(kind, name, later)
                assert bool(found.changes) == (found.before.state != found.after.state)
                assert all(start < each.step.event.position <= end for each in found.steps)
                # Each field that differs was changed by at least one of the events that are named.
                changed = [field for each in found.steps for field in each.step.fields]
                for change in found.changes:
                    assert any(change.field.startswith(each) or each.startswith(change.field) for each in changed)


async def test_a_difference_says_what_changed_and_because_of_what(postgres_url):
    made = store_client("77", ["voided"])
    events = await recorded(postgres_url, made.placed)
    issued_at = next(each.position for each in events if each.envelope.stream.startswith("invoice-"))
    order_id = next(each.envelope.stream for each in events if each.envelope.stream.startswith("order-"))[6:]
    async with time_travel(postgres_url) as travel:
        found = await travel.difference("order", order_id, Moment(position=issued_at))
        assert found is not None
        assert [(each.field, each.before, each.after) for each in found.changes] == [
            ("status", "confirmed", "cancelled"),
            ("reason", None, "changed"),
            ("version", 2, 3),
        ]
        (only,) = found.steps
        assert only.step.fields == ("status", "reason", "version")
        confirmed = _version(events, f"order-{order_id}", 2)
        assert only.cause == CauseOf(id=confirmed.envelope.id, type="order.confirmed", position=confirmed.position)
        new = await travel.difference("order", order_id, Moment(position=0))
        assert new is not None
        assert (new.before.state, new.before.last_event) == (None, None)
        assert ("number", None, order_number(order_id)) in [(c.field, c.before, c.after) for c in new.changes]
        lines = [each.field for each in new.changes if each.field.startswith("lines")]
        assert lines == ["lines"]


async def test_an_order_is_a_clients_from_the_event_on_that_names_it(postgres_url):
    made = StoreHistory(client="77")
    order_id = ordered(made, 1)
    others = [each for each in made.placed if each[0] != "chat.billing"]
    billed = [each for each in made.placed if each[0] == "chat.billing"]
    events = await recorded(postgres_url, [*others[:-1], *billed, *others[-1:]])
    assert events[-1].envelope.stream == f"conversation-{made.conversation}"
    async with time_travel(postgres_url) as travel:
        before = await travel.state(CLIENT, "77", Moment(position=events[-2].position))
        assert before is not None
        assert before.state is not None
        assert before.state["orders"] == {}
        found = await travel.difference(CLIENT, "77", Moment(position=events[1].position))
        assert found is not None
        (only,) = found.steps
        assert only.step.event == events[-1]
        assert {f"orders.{order_id}", f"invoices.{invoice_of(order_id)}"} <= set(only.step.fields)


async def test_a_cause_that_is_not_in_the_ledger_is_named_all_the_same(postgres_url):
    made = store_client("77", ["paid"])
    placed = [each for each in made.placed if not isinstance(each[1].data, OrderConfirmed)]
    without_inbound = [each for each in placed if each[0] != "chat.inbound"]
    await recorded(postgres_url, without_inbound)
    async with time_travel(postgres_url) as travel:
        found = await travel.difference("conversation", made.conversation, Moment(position=0))
        assert found is not None
        assert {each.cause.type for each in found.steps if each.cause} == {None}


async def test_a_client_is_found_over_all_channels_and_can_be_narrowed(postgres_url):
    made, other = store_client("77", ["paid"]), history("77")
    await recorded(postgres_url, [*made.placed, *other, *history("777"), *history("7")])
    async with time_travel(postgres_url) as travel:

        async def conversations(name: str, project: str | None = None) -> list[str] | None:
            known = await travel.state(CLIENT, name, project=project)
            return None if known is None else list((known.state or {})["conversations"])

        both = ["order-form/chat2desk/77", "store/twilio/77"]
        assert await conversations("77") == both
        assert await conversations("store/77") == both[1:]
        assert await conversations("order-form/chat2desk/77") == both[:1]
        assert await conversations("77", "store") == both[1:]
        assert await conversations("order-form/77", "store") is None
        assert await conversations("chat2desk/77") is None
        assert await conversations("") is None


async def test_many_projects_and_channels_are_found_without_their_clients(postgres_url):
    """One probe leads from one channel to the next, whatever lies between."""
    names = [f"{project}/{channel}" for project in ("a", "a-b", "a1", "b") for channel in ("meta", "meta-2", "x", "x1")]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        await recorded(postgres_url)
        for number, name in enumerate(names):
            connection.execute(
                "INSERT INTO ledger.events (id, stream, version, type, data, metadata, occurred_at, topic, partition,"
                " source_offset) SELECT gen_random_uuid(), 'conversation-' || %s || '/' || client, 1, 'x', '{}',"
                ' \'{"source": "", "conversation": "", "schemaversion": 1, "correlationid": "",'
                ' "causationid": null, "traceparent": null}\', now(), \'t\', 0, client'
                " FROM generate_series(%s::int * 100, %s::int * 100 + 99) AS client",
                (name, number, number),
            )
    async with time_travel(postgres_url) as travel:
        for number, name in enumerate(names):
            known = await travel.state(CLIENT, f"{number * 100 + 50}")
            assert known is not None
            assert list((known.state or {})["conversations"]) == [f"{name}/{number * 100 + 50}"]


async def test_orders_are_found_by_number_and_the_beginning_of_an_id(postgres_url):
    made = StoreHistory(client="77")
    order_id = ordered(made, 1)
    await recorded(postgres_url, made.placed)

    async def numbers(kind: str, number: str, project: str | None) -> list[str]:
        return [invoice_of(order_id), "gone"] if (kind, number) == ("invoice", "INV-2026-000001") else []

    async with time_travel(postgres_url, numbers) as travel:
        number = order_number(order_id)
        for written in (order_id, number, number.lower(), number.replace("-", "")):
            assert await travel.find("order", written) == [order_id]
            assert await travel.find("order", written, project="other") == []
        assert await travel.find("invoice", "INV-2026-000001") == [invoice_of(order_id)]
        assert await travel.find("invoice", "INV-2026-000002") == []
        assert await travel.find("order", "0000-0000") == []
        assert await travel.beginning_with("order", order_id[:6]) == [order_id]
        assert await travel.beginning_with("order", "zz") == []


async def test_what_was_never_recorded_is_unknown_and_what_came_later_says_when(postgres_url):
    made = store_client("77", ["paid"])
    events = await recorded(postgres_url, made.placed)
    async with time_travel(postgres_url) as travel:
        for kind in ("conversation", "order", "invoice", CLIENT):
            assert await travel.state(kind, "nobody") is None
            assert await travel.difference(kind, "nobody", Moment(position=0)) is None
        known = await travel.state("conversation", made.conversation, Moment(time=events[0].recorded_at - timedelta(1)))
        assert known is not None
        assert (known.events, known.last_event, known.first.position) == (0, None, events[0].position)
        assert known.state == conversation_then([], made.conversation)


async def test_an_event_of_an_unknown_type_is_passed_over(postgres_url):
    made = store_client("77", ["paid"])
    events = await recorded(postgres_url, made.placed)
    order = next(each.envelope for each in events if each.envelope.stream.startswith("order-"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ledger.events (id, stream, version, type, data, metadata, occurred_at, topic, partition,"
            " source_offset) SELECT gen_random_uuid(), stream, version + 1, 'order.gilded', '{\"carats\": 24}',"
            " metadata, occurred_at + '1 s', topic, partition, source_offset + 999"
            " FROM ledger.events WHERE stream = %s ORDER BY version DESC LIMIT 1",
            (order.stream,),
        )
    async with time_travel(postgres_url) as travel:
        known = await travel.state("order", order.stream[6:])
        assert known is not None
        assert known.state is not None
        assert known.last_event is not None
        assert known.state == {
            **(billing_then(events, order.stream) or {}),
            "version": 3,
            "updated_at": known.state["updated_at"],
        }
        assert known.last_event.envelope.stream_version == 3


async def test_history_that_cannot_have_happened_is_said(postgres_url):
    made = store_client("77", ["nothing"])
    broken = [each for each in made.placed if each[1].stream_version != 1 or not each[1].stream.startswith("order-")]
    await recorded(postgres_url, broken)
    stream = next(each.stream for _, each in broken if each.stream.startswith("order-"))
    async with time_travel(postgres_url) as travel:
        with pytest.raises(InvariantViolated, match="cannot be the first event of an order"):
            await travel.state("order", stream[6:])


async def test_without_a_database_it_is_unavailable(postgres_url):
    await recorded(postgres_url)
    async with time_travel(postgres_url) as travel:
        await _go_away(postgres_url)
        with pytest.raises(OutsideUnavailable):
            await _asked_twice(travel)


async def _asked_twice(travel: TimeTravel) -> None:
    # The pool may notice that its first connection is gone, and make another.
    for _ in range(2):
        await travel.state("order", "x", NOW)


async def _go_away(url: str) -> None:
    with psycopg.connect(url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as admin:
        name = url.rpartition("/")[2]
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


async def test_lists_and_clients_are_whole_whatever_clients_are_called(postgres_url):
    clients = ["7", "77", "Ana", "ana", "+7", "b/c", "_x", "ß"]
    made = [store_client(client, ["paid"]) for client in clients]
    await recorded(postgres_url, *[each.placed for each in made], *[history(client, ["hi"]) for client in clients])
    async with time_travel(postgres_url) as travel:
        for project, theirs in (("store", [each.conversation for each in made]), ("order-form", None), ("or", [])):
            found: list[str] = []
            while page := await travel.conversations(after=found[-1] if found else None, limit=3, project=project):
                found += [each.id for each in page]
            assert len(found) == len(set(found))
            wanted = [f"order-form/chat2desk/{client}" for client in clients] if theirs is None else theirs
            assert set(found) == set(wanted)
        for client in clients:
            known = await travel.state(CLIENT, client)
            assert known is not None
            assert known.state is not None
            assert len(known.state["conversations"]) == 2
            order_id = next(iter(known.state["orders"]))
            assert await travel.find("order", order_number(order_id)) == [order_id]
