"""Recorded histories decided once more: nothing differs without a change, in whatever order topics were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger import topics
from chatledger.conversation import evolve, initial
from chatledger.dead_letters import dead_letter
from chatledger.events import Envelope, dialog
from chatledger.events.envelope import caused_by, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived, OrderReported
from chatledger.events.inventory import InventoryUpdated
from chatledger.flows import pipeline
from chatledger.inventory import IN_FORCE_AFTER, LiveProjects
from chatledger.ports import ConsumedRecord
from chatledger.what_if import DecisionFailed, Failure, Kind
from tests.replay.store_conversations import CONVERSATIONS, store_history
from tests.support.dialog import ORDER, START
from tests.support.ledger import Placed, conversation_of, history
from tests.support.what_if import PROJECTS, RECORDED_AT, as_ledger, compare
from tests.unit.projects_at_hand import product, store, store_variant

TEXTS = st.lists(
    st.sampled_from(
        ["hi", "1", "Cement x 10", "sand 5, nails 2", "2", "yes", "cancel", "back", "help", "", "+919876543210"]
    ),
    min_size=1,
    max_size=8,
)


@st.composite
def recorded_orders(draw, placed: Placed) -> Placed:
    """An order in which the recorder may have met the topics: each in its own order, with any lead over the others."""
    by_topic: dict[str, list[tuple[str, Envelope]]] = {}
    for each in placed:
        by_topic.setdefault(each[0], []).append(each)
    waiting, merged = list(by_topic.values()), Placed()
    while waiting:
        chosen = draw(st.integers(0, len(waiting) - 1))
        merged.append(waiting[chosen].pop(0))
        waiting = [each for each in waiting if each]
    return merged


@st.composite
def histories(draw) -> Placed:
    """Several clients of both projects, told in one line."""
    talks = [history(str(number), draw(TEXTS)) for number in range(draw(st.integers(1, 2)))]
    talks.append(store_history(draw(TEXTS)))
    return draw(recorded_orders([each for talk in talks for each in talk]))


@settings(deadline=None)
@given(histories(), st.booleans())
def test_without_a_change_nothing_differs(placed, follow):
    outcome = compare(as_ledger(placed), follow=follow)
    assert outcome.differing == []
    assert outcome.left_out.not_decided == outcome.left_out.without_input == 0
    assert outcome.tally.decisions == sum(isinstance(each.data, MessageReceived) for _, each in placed)


@pytest.mark.parametrize("follow", [False, True])
def test_a_price_that_changes_shows_where_it_is_taken_up_and_followed_in_the_order_too(follow):
    others = [each for each in store()["catalogue"] if each["sku"] != "CEM-50"]
    dearer = store_variant(store=store(catalogue=[product("CEM-50", price="55.00"), *others]))
    events = as_ledger(store_history(CONVERSATIONS["store-order"]))
    outcome = compare(events, {**PROJECTS, dearer.name: dearer}, follow=follow)
    found = {
        (change.type, field.path, field.recorded, field.decided)
        for each in outcome.differing
        for change in each.changes
        for field in change.fields
        if field.path != "text"
    }
    taken_up = {("cart.items_added", "items[0].unit_price_minor", 5_000, 5_500)}
    assert found == taken_up | ({("order.placed", "lines[0].unit_price_minor", 5_000, 5_500)} if follow else set())
    texts = [change.fields[0] for each in outcome.differing for change in each.changes if change.kind is Kind.TEXT]
    assert "Total: ₹5,000" in texts[0].recorded
    assert "Total: ₹5,500" in texts[0].decided


@settings(deadline=None)
@given(st.data())
def test_one_decision_that_was_another_is_the_only_one_that_differs(data):
    """Each decision starts from the recorded state, so a divergence does not spread."""
    placed = history("77", data.draw(TEXTS))
    replies = [at for at, (_, each) in enumerate(placed) if isinstance(each.data, dialog.ReplyRequested)]
    at = data.draw(st.sampled_from(replies))
    topic, envelope = placed[at]
    assert isinstance(envelope.data, dialog.ReplyRequested)
    placed[at] = (topic, replace(envelope, data=replace(envelope.data, text="planted")))
    (found,) = compare(as_ledger(placed)).differing
    assert found.cause.envelope.id == envelope.causation_id
    assert [change.kind for change in found.changes] == [Kind.TEXT]


def deaf_to_phones(state, cause, project):
    """A flow that does not hear the one message with the phone number."""
    if isinstance(cause.data, MessageReceived) and cause.data.text == ORDER[2]:
        return [dialog.MessageDeferred()]
    return pipeline.decide(state, cause, project)


@pytest.mark.parametrize(("follow", "differing"), [(False, ORDER[2:3]), (True, ORDER[2:])])
def test_followed_a_divergence_goes_on(follow, differing):
    outcome = compare(as_ledger(history("77")), decide=deaf_to_phones, follow=follow)
    assert tuple(getattr(each.cause.envelope.data, "text", None) for each in outcome.differing) == differing


def test_since_bounds_what_is_compared_not_what_is_folded():
    events = as_ledger(history("77"))
    yes = next(each for each in events if getattr(each.envelope.data, "text", "") == "yes")
    outcome = compare(events, since=yes.recorded_at)
    assert [each.cause for each in outcome.compared] == [yes]
    assert outcome.differing == []
    assert compare(events, since=yes.recorded_at + timedelta(microseconds=1)).tally.decisions == 0


def test_what_a_failing_flow_says_is_told_and_the_others_go_on():
    failure = Failure(error="KeyError", place="store.py, line 1")

    def fails(state, cause, project):
        if cause.data.text == "3":
            raise DecisionFailed(failure)
        return pipeline.decide(state, cause, project)

    outcome = compare(as_ledger(history("77")), decide=fails)
    assert [each.failure for each in outcome.differing] == [failure]
    assert (outcome.tally.decisions, outcome.tally.decisions_failed) == (5, 1)


class TestNotDecided:
    def test_a_message_that_was_recorded_after_the_end(self):
        placed = history("77")
        last = max(at for at, (topic, _) in enumerate(placed) if topic == topics.INBOUND)
        outcome = compare(as_ledger(placed[: last + 1]))
        assert (outcome.tally.decisions, outcome.differing, outcome.left_out.not_decided) == (4, [], 1)

    def test_a_dead_letter(self):
        """A message that no flow could handle then: the others went on from the state before it."""
        placed = history("77", ["hi", "Baker Street 221b"])
        lost = said("77", 50, "lost")
        placed = [placed[0], *placed[1:], (topics.INBOUND, lost), letter(lost)]
        later, decided = handled_after(placed, said("77", 51, "+91 98765 43210"))
        outcome = compare(as_ledger([*placed, (topics.INBOUND, later), *decided]))
        assert (outcome.tally.decisions, outcome.differing, outcome.left_out.not_decided) == (3, [], 1)

    def test_a_dead_letter_that_was_put_back_later(self):
        placed = history("77", ["hi"])
        lost = said("77", 50, "Baker Street 221b")
        placed += [(topics.INBOUND, lost), letter(lost)]
        between, decided = handled_after(placed, said("77", 51, "help"))
        placed += [(topics.INBOUND, between), *decided]
        _, decided = handled_after(placed, lost)
        outcome = compare(as_ledger([*placed, *decided]))
        assert (outcome.tally.decisions, outcome.differing, outcome.left_out.not_decided) == (3, [], 0)

    @pytest.mark.parametrize("is_dead", [False, True])
    def test_an_input_that_decided_nothing_is_compared_unless_it_was_a_dead_letter(self, is_dead):
        told = reported("77", 50)
        placed = [*history("77", ["hi"]), (topics.INBOUND, told), *([letter(told)] if is_dead else [])]
        later, decided = handled_after(placed, said("77", 51, "help"))
        events = as_ledger([*placed, (topics.INBOUND, later), *decided])
        assert compare(events).differing == []
        outcome = compare(events, decide=notes_orders)
        assert [each.cause.envelope.id for each in outcome.differing] == [] if is_dead else [told.id]
        assert outcome.left_out.not_decided == int(is_dead)

    @pytest.mark.parametrize("later", [False, True])
    def test_an_input_at_the_end_was_handled_if_its_partition_went_on(self, later):
        told = reported("77", 50)
        placed = [*history("77", ["hi"]), (topics.INBOUND, told), *(history("78", ["hi"]) if later else [])]
        outcome = compare(as_ledger(placed), decide=notes_orders)
        assert len(outcome.differing) == int(later)
        assert outcome.left_out.not_decided == int(not later)

    def test_a_second_copy_decides_nothing_and_counts_as_nothing(self):
        placed = history("77")
        outcome = compare(as_ledger([*placed, placed[0], *placed[5:9]]))
        assert (outcome.tally.decisions, outcome.differing, outcome.left_out.not_decided) == (5, [], 0)


def test_a_history_with_a_hole_is_not_compared_from_there_on():
    placed = history("77")
    hole = next(at for at, (_, each) in enumerate(placed) if each.stream_version == 5)
    outcome = compare(as_ledger([*placed[:hole], *placed[hole + 1 :], *history("78")]))
    assert outcome.left_out.incomplete == {conversation_of("77")}
    assert outcome.differing == []
    assert outcome.tally.conversations[conversation_of("78")].decisions == 5


def test_decisions_whose_input_is_missing_are_counted():
    placed = history("77")
    outcome = compare(as_ledger(placed[1:]))
    assert (outcome.left_out.without_input, outcome.tally.decisions, outcome.differing) == (1, 4, [])


def test_a_conversation_of_no_project_is_left_out():
    outcome = compare(as_ledger(history("77")), {})
    assert outcome.left_out.without_project == {conversation_of("77")}
    assert outcome.tally.decisions == 0


def test_prices_of_the_record_count_however_long_ago_they_were_told():
    project = store_variant(crm={"kind": "zoho"})
    projects, told = {project.name: project}, [priced(5_000, -3600), priced(9_900, 120), priced(7_000, 60 * 60 * 5)]
    live = LiveProjects(projects, remembered=None)
    for update in told:
        live.take(project.name, update)
    placed, state = Placed(), initial()
    for number, text in enumerate(["Cement x 10", "cart", "Cement x 5", "1"]):
        cause = store_said(number, text, at_s=number * 100)
        state, decided = pipeline.handle(state, cause, live.at(cause.time))
        placed += [(topics.INBOUND, cause), *((topics.DIALOG, each) for each in decided)]
    inventory = [(topics.INVENTORY, inventory_event(each)) for each in told]
    assert compare(as_ledger([*inventory, *placed]), projects).differing == []
    assert compare(as_ledger(placed), projects).differing != []


def said(client: str, number: int, text: str) -> Envelope:
    event = MessageReceived(
        channel="chat2desk", client_id=client, provider_message_id=f"p{number}", text=text, reply_to={}, raw={}
    )
    return outside(client, number, event)


def reported(client: str, number: int) -> Envelope:
    return outside(client, number, OrderReported(order_id="1", order_number="7QK2-M0XF", status="shipped"))


def outside(client: str, number: int, event) -> Envelope:
    return from_outside(
        event,
        id=derive_id("what-if", client, number),
        source="/chatledger/ingress",
        conversation=conversation_of(client),
        time=START + timedelta(seconds=20 * number),
    )


def letter(cause: Envelope) -> tuple[str, Envelope]:
    """What the dialog says of an input that it could not handle."""
    record = ConsumedRecord(topic=topics.INBOUND, partition=0, offset=1, key=None, value=None, headers=())
    told = dead_letter(record, "a mistake", service="dialog", incarnation="a", now=RECORDED_AT, cause=cause)
    return topics.DEAD, told


def handled_after(placed: Sequence[tuple[str, Envelope]], cause: Envelope) -> tuple[Envelope, Placed]:
    """What the dialog decides about `cause` after all that it decided before."""
    state = initial()
    for _, envelope in placed:
        if envelope.stream_version is not None and envelope.stream == f"conversation-{cause.conversation}":
            state = evolve(state, envelope)
    _, decided = pipeline.handle(state, cause, PROJECTS)
    return cause, [(topics.DIALOG, each) for each in decided]


def notes_orders(state, cause, project):
    """A flow that says something where today's has nothing to say."""
    if isinstance(cause.data, OrderReported):
        return [dialog.MessageDeferred()]
    return pipeline.decide(state, cause, project)


def priced(price_minor: int, at_s: float) -> InventoryUpdated:
    """A price that comes into force so long after the first message."""
    fetched_at = START + timedelta(seconds=at_s) - IN_FORCE_AFTER
    return InventoryUpdated(sku="CEM-50", price_minor=price_minor, stock=None, fetched_at=fetched_at)


def inventory_event(update: InventoryUpdated) -> Envelope:
    cause = from_outside(
        update,
        id=derive_id("stock", str(update.fetched_at)),
        source="/chatledger/crm",
        conversation="store/inventory/CEM-50",
        time=update.fetched_at,
    )
    (event,) = caused_by(cause, [update], source="/chatledger/crm", stream="inventory-store-CEM-50", last_version=0)
    return event


def store_said(number: int, text: str, *, at_s: int) -> Envelope:
    client = "+919900000001"
    event = MessageReceived(
        channel="twilio", client_id=client, provider_message_id=f"SM{number}", text=text, reply_to={}, raw={}
    )
    return from_outside(
        event,
        id=derive_id("priced", number),
        source="/chatledger/ingress",
        conversation=f"store/twilio/{client}",
        time=START + timedelta(seconds=at_s),
    )
