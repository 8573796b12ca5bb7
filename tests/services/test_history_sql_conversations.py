"""history.conversations_at is the fold: at every moment it shows what the fold in Python does, in every column."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatledger import topics
from chatledger.conversation import EXPIRY, Conversation
from chatledger.events import EVENTS, Event, cart, dialog
from chatledger.events.base import UnknownEvent
from chatledger.events.envelope import from_outside
from chatledger.events.inbound import NoticeDue, TimerFired
from chatledger.events.orders import OrderLine
from chatledger.ports import LedgerEvent
from chatledger.shop import CART_TIMER
from tests.replay.store_conversations import CONVERSATIONS as STORE_CONVERSATIONS
from tests.replay.store_conversations import store_history
from tests.support.history_sql import (
    HistoryDatabase,
    Said,
    conversed,
    history_database,
    in_stream_of,
    known_conversations,
    old_records,
)
from tests.support.ledger import Placed
from tests.support.postgres import fresh_database
from tests.unit.projects_at_hand import EXAMPLE, STORE
from tests.unit.strategies import dialog_events, envelopes, json_objects

pytestmark = pytest.mark.postgres
HISTORIES = Path(__file__).parents[1] / "replay" / "histories"
RUNS = count()
BEGINNING = store_history(["hi"])[0][1].time
KNOWN_AT = """
SELECT moment, known.*
FROM unnest(%s::timestamptz[]) AS moment, LATERAL history.conversation_at(%s, moment) AS known
ORDER BY moment
"""
ON_ONE_DATABASE = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def url(postgres_server) -> Iterator[str]:
    """One database for all examples: each has conversations of its own."""
    with fresh_database(postgres_server) as database:
        yield database


@pytest.fixture
async def database(url: str) -> AsyncIterator[HistoryDatabase]:
    async with history_database(url) as opened:
        yield opened


def timer(kind: str) -> Said:
    def fired(state: Conversation) -> Event:
        due = state.timer_due if kind == EXPIRY else state.shop and state.shop.cart_timer_due
        return TimerFired(timer_id="timer", kind=kind, due=due or state.last_message_at or BEGINNING)

    return fired


def notice(state: Conversation) -> Event:
    return NoticeDue(regarding="reminder-1", purpose="cart_abandoned", promotional=True, text="Hello?", variables={})


ANY_FLOW = ("hi", "back", "cancel", "restart", "help", "stop", "start", "yes", "no", "1", "2", "3", "?!", notice)
ORDER_FORM = (*ANY_FLOW, "Baker Street 221b", "+91 98765 43210", "98765 43210", "abc", "99", timer(EXPIRY))
STORE_FLOW = (
    *ANY_FLOW,
    "cement 100 bags, steel rod x 20, bricks 500",
    "Cement x 100",
    "white paint 4 l",
    "red",
    "sand 2.5",
    "remove cement",
    "remove sand",
    "code BUILD5",
    "code NOPE",
    "cart",
    "status",
    "repeat",
    "nails 3 inch 5 kg",
    timer(EXPIRY),
    timer(CART_TIMER),
)
conversations: st.SearchStrategy[tuple[str, list[Said]]] = st.one_of(
    st.tuples(st.just("order_form"), st.lists(st.sampled_from(ORDER_FORM), min_size=1, max_size=16)),
    st.tuples(st.just("store"), st.lists(st.sampled_from(STORE_FLOW), min_size=1, max_size=16)),
)


@given(conversations)
@ON_ONE_DATABASE
async def test_at_every_moment_of_a_conversation_sql_knows_what_the_fold_knows(
    database: HistoryDatabase, said: tuple[str, list[Said]]
) -> None:
    flow, steps = said
    client = f"run-{next(RUNS)}"
    placed = (
        conversed(EXAMPLE, "chat2desk", client, steps)
        if flow == "order_form"
        else conversed(STORE, "twilio", client, steps)
    )
    await agrees(database, await database.record(placed))


lines = st.builds(
    OrderLine,
    name=st.just("thing"),
    quantity=st.sampled_from([-5, 1, 2**63 - 1]),
    unit_price_minor=st.none() | st.integers(0, 9),
    sku=st.sampled_from([None, "", "a", "b"]),
    unit=st.none() | st.just("bag"),
    tax_bp=st.none() | st.just(1_800),
)
"""Of few products, so that they meet in one cart."""
carts: st.SearchStrategy[Event] = st.one_of(
    st.builds(cart.ItemsAdded, items=st.lists(lines, max_size=3).map(tuple)),
    st.builds(cart.ItemRemoved, sku=st.sampled_from(["", "a", "b"])),
    st.builds(cart.ChoiceAsked, text=st.just("x"), quantity=st.just(1), skus=st.just(("a", "b"))),
    st.builds(cart.ChoiceMade, sku=st.none() | st.just("a")),
    st.builds(cart.DiscountApplied, code=st.sampled_from(["A", "B"])),
    st.just(cart.CartKept()),
    st.just(dialog.OrderCancelled(reason="client")),
    st.just(dialog.ConversationRestarted()),
)
answers: st.SearchStrategy[Event] = st.sampled_from(
    [
        dialog.AddressGiven(address="Baker Street 221b"),
        dialog.PhoneGiven(phone="+919876543210"),
        dialog.QuantityGiven(quantity=3),
        dialog.AnswerRejected(question="quantity", reason="range", answer="99"),
        *(dialog.AnswerWithdrawn(question=question) for question in ("address", "phone", "quantity")),
        dialog.HandoffRequested(reason="client"),
    ]
)
beginnings: st.SearchStrategy[Event] = st.builds(
    dialog.ConversationStarted, flow=st.sampled_from(["store", "order_form", "booking"]), language=st.just("en")
)
ahead: st.SearchStrategy[Event] = st.builds(
    UnknownEvent,
    type_name=st.sampled_from([each.type for each in EVENTS]),
    schema_version=st.just(99),
    data=json_objects,
)
"""Events of a later program."""
anything = st.one_of(carts, carts, answers, answers, beginnings, dialog_events, ahead)


@st.composite
def streams(draw: st.DrawFn, conversation: str) -> Placed:
    """Whatever may stand in the stream of a conversation, whether a flow would write it or not."""
    store = dialog.ConversationStarted(flow="store", language="en")
    events = [store] * draw(st.integers(0, 1)) + draw(st.lists(anything, min_size=2, max_size=14))
    versions: list[int | None] = [*range(1, len(events) + 1)]
    if draw(st.integers(0, 3)) == 0:
        # Versions that are missing, out of order, or no versions at all.
        versions = draw(st.permutations(versions))
        versions[draw(st.integers(0, len(versions) - 1))] = None
    placed = Placed()
    for number, (event, version) in enumerate(zip(events, versions, strict=True)):
        envelope = replace(draw(envelopes(st.just(event))), causation_id=draw(st.sampled_from([None, "", "a", "b"])))
        placed.append((topics.DIALOG, in_stream_of(envelope, conversation, number=number, version=version)))
    return placed


@given(st.data())
@settings(ON_ONE_DATABASE, max_examples=60)
async def test_whatever_stands_in_a_stream_sql_folds_it_as_python_does(
    database: HistoryDatabase, data: st.DataObject
) -> None:
    placed = data.draw(streams(f"project/channel/run-{next(RUNS)}"))
    recorded = await database.record(placed)
    assert len(recorded) == len(placed)
    await agrees(database, recorded)


TELLING: tuple[Event, ...] = (
    dialog.AddressGiven(address="Baker Street 221b"),
    dialog.PhoneGiven(phone="+919876543210"),
    dialog.QuantityGiven(quantity=3),
    *(dialog.AnswerWithdrawn(question=question) for question in ("address", "phone", "quantity")),
    cart.ItemsAdded(items=(OrderLine(name="x", quantity=2**63 - 1, unit_price_minor=1, sku="a"),)),
    cart.ItemsAdded(items=tuple(OrderLine(name="y", quantity=1, unit_price_minor=None, sku=sku) for sku in "ab")),
    cart.ItemRemoved(sku="a"),
    cart.ChoiceAsked(text="x", quantity=1, skus=("a", "b")),
    cart.ChoiceMade(sku="a"),
    dialog.OrderCancelled(reason="client"),
)
OTHERS: tuple[Event, ...] = (
    dialog.ConversationStarted(flow="order_form", language="hi"),
    dialog.ConversationRestarted(),
    dialog.ConversationExpired(last_message_at=BEGINNING),
    dialog.HandoffRequested(reason="client"),
    dialog.AnswerRejected(question="quantity", reason="range", answer="99"),
    dialog.OrderPlaced(order_id="o", order_number="n", lines=(), currency=None, address="", phone=""),
    dialog.TimerRequested(kind=EXPIRY, due=BEGINNING),
    dialog.MessageThrottled(told=True),
    dialog.NoticeDecided(regarding="reminder-1", purpose="x", withheld=None),
    dialog.ClientOptedOut(),
    dialog.ClientOptedIn(),
    cart.DiscountApplied(code="A"),
    cart.CartKept(),
    cart.CartAbandoned(items=1, total_minor=1, currency="INR"),
    UnknownEvent(type_name="address.given", schema_version=2, data={"address": "of another kind"}),
)


async def test_any_three_events_in_a_row_are_folded_alike(postgres_url: str) -> None:
    rows = [*product(TELLING, repeat=3), *product((*TELLING, *OTHERS), repeat=2)]
    placed = Placed()
    for number, row in enumerate(rows):
        started = dialog.ConversationStarted(flow=("store", "order_form")[number % 2], language="en")
        for place, event in enumerate((started, *row)):
            envelope = from_outside(event, id="", source="/", conversation="", time=BEGINNING + timedelta(hours=place))
            caused = replace(envelope, causation_id=("a", "b")[(number >> place) % 2])
            own = in_stream_of(caused, f"project/channel/{number}", number=place, version=place + 1)
            placed.append((topics.DIALOG, own))
    async with history_database(postgres_url) as database:
        events = await database.record(placed, at_once=5_000)
        found = await database.ask("SELECT * FROM history.conversations_at('infinity')")
    assert len(events) == len(placed)
    assert {row["conversation"]: row for row in found} == known_conversations(events)


async def agrees(database: HistoryDatabase, recorded: list[LedgerEvent]) -> None:
    """At the moment of every event, and just before the first, SQL says what Python says."""
    conversation = recorded[0].envelope.conversation
    moments = [recorded[0].recorded_at - timedelta(microseconds=1), *(event.recorded_at for event in recorded)]
    rows = await database.ask(KNOWN_AT, moments, conversation)
    expected = [
        {"moment": moment, **known}
        for end, moment in enumerate(moments)
        for known in known_conversations(recorded[:end]).values()
    ]
    assert rows == expected


async def test_all_conversations_of_past_and_present_at_many_moments(postgres_url: str) -> None:
    async with history_database(postgres_url) as database:
        for path in sorted(HISTORIES.glob("*.ndjson")):
            lines = path.read_bytes().splitlines()
            await database.record_raw(old_records(lines, client=path.stem, offsets=database.offsets), at_once=7)
        for number, steps in enumerate(STORE_CONVERSATIONS.values()):
            await database.record(
                [
                    (topic, in_stream_of(each, f"store/twilio/{number}", number=place, version=each.stream_version))
                    for place, (topic, each) in enumerate(store_history(steps))
                ],
                at_once=5,
            )
        events = [event async for event in database.ledger.read()]
        moments = sorted({event.recorded_at for event in events})
        for moment in moments:
            expected = known_conversations(event for event in events if event.recorded_at <= moment)
            rows = await database.ask("SELECT * FROM history.conversations_at(%s)", moment)
            assert {row["conversation"]: row for row in rows} == expected
        assert len(moments) > 20
        assert len(expected) == len(STORE_CONVERSATIONS) + len(list(HISTORIES.glob("*.ndjson")))
        old = [event for event in events if event.envelope.conversation.endswith("/an-order")]
        assert old


async def test_steps_show_where_a_conversation_stood_after_each_event(database: HistoryDatabase) -> None:
    steps: list[Said] = ["hi", "Cement x 100", "1", "status"]
    recorded = await database.record(conversed(STORE, "twilio", f"run-{next(RUNS)}", steps))
    own = [event for event in recorded if event.envelope.stream_version is not None]
    rows = await database.ask(
        "SELECT * FROM history.steps WHERE stream = %s ORDER BY position", recorded[0].envelope.stream
    )
    assert len(rows) == len(own)
    for row, event in zip(rows, own, strict=True):
        known = known_conversations(each for each in recorded if each.position <= event.position)
        state = known[event.envelope.conversation]
        assert (row["position"], row["version"]) == (event.position, event.envelope.stream_version)
        assert (row["status"], row["flow"], row["session"]) == (state["status"], state["flow"], state["sessions"])
        assert row["order_id"] == state["order_id"]
