"""`verify` is quiet about a right history and catches every planted violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
import pytest

from chatledger import topics
from chatledger.dead_letters import dead_letter
from chatledger.dialog_table import OFFSET_NONE, encode_entry
from chatledger.events import Envelope, dialog
from chatledger.events.ids import derive_id
from chatledger.events.orders import InvoiceIssued
from chatledger.ports import TopicPartition
from chatledger.replay import fold
from chatledger_ledger import invariants
from chatledger_ledger.broker_invariants import inbound_is_recorded, positions_are_at_the_ends, table_is_the_fold
from chatledger_ledger.broker_view import DialogTable, TopicExtent
from chatledger_ledger.verification import verify
from tests.support.dialog import message
from tests.support.ledger import Placed, as_records, conversation_of, history, open_ledger, sent
from tests.support.ledger_plants import changed, is_a, of, report_on, require_complaint, without


def right_history() -> Placed:
    return [*history("77", invoice=1), *history("78", invoice=2), *history("79", ["hi", "stop it"])]


@pytest.fixture
def report_of(postgres_url) -> Callable[..., Any]:
    return partial(report_on, postgres_url)


@pytest.mark.postgres
async def test_a_right_history_has_no_violation(report_of):
    placed = right_history()
    report = await report_of(placed, acknowledged=[each.id for topic, each in placed if topic == topics.INBOUND])
    assert report.violations == 0, report.findings
    assert [finding.name for finding in report.findings] == ["I1", "I2", "I4", "I5", "I6", "I7", "I8"]
    assert {finding.name: finding.checked for finding in report.findings}["I6"] == 2
    assert report.events == len(placed)
    assert report.dead_letters == ()


@pytest.mark.postgres
async def test_an_empty_ledger_has_no_violation(report_of):
    assert (await report_of([])).violations == 0


def first_message_lost(placed: Placed) -> Placed:
    return placed[1:]


def version_lost(placed: Placed) -> Placed:
    at = next(index for index, (_, each) in enumerate(placed) if each.stream_version == 3)
    return [*placed[:at], *placed[at + 1 :]]


def versions_swapped(placed: Placed) -> Placed:
    first = next(index for index, (_, each) in enumerate(placed) if each.stream_version == 1)
    second = next(index for index, (_, each) in enumerate(placed) if each.stream_version == 2)
    placed[first], placed[second] = placed[second], placed[first]
    return placed


def invoiced_twice(placed: Placed) -> Placed:
    issued = next(each for _, each in placed if isinstance(each.data, InvoiceIssued))
    assert isinstance(issued.data, InvoiceIssued)
    data = replace(issued.data, invoice_id=derive_id("another"), number="INV-2026-000003")
    stream = f"invoice-{data.invoice_id}"
    return [*placed, (topics.BILLING, replace(issued, id=derive_id("second"), stream=stream, data=data))]


def sent_twice(placed: Placed) -> Placed:
    requested = next(each for _, each in placed if isinstance(each.data, dialog.ReplyRequested))
    return [*placed, (topics.NOTIFY, replace(sent(requested), id=derive_id("again")))]


def sent_unasked(placed: Placed) -> Placed:
    asked = next(each for _, each in placed if isinstance(each.data, dialog.ReplyRequested))
    return [*placed, (topics.NOTIFY, sent(replace(asked, id=placed[0][1].id)))]


def decided_without_a_cause(placed: Placed) -> Placed:
    started = next(each for _, each in placed if isinstance(each.data, dialog.ConversationStarted))
    stranger = replace(started, id=derive_id("x"), stream="conversation-x", conversation="x", causation_id=None)
    return [*placed, (topics.DIALOG, stranger)]


def is_about_one_delivery(envelope: Envelope) -> bool:
    return envelope.stream.startswith("delivery-") and envelope.conversation == conversation_of("79")


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("plant", "name", "complaint"),
    [
        pytest.param(first_message_lost, "I1", "was acknowledged and is not in the ledger", id="lost message"),
        pytest.param(first_message_lost, "I2", "its cause", id="effect without a cause"),
        pytest.param(decided_without_a_cause, "I2", "(none named)", id="no cause named"),
        pytest.param(version_lost, "I4", "version 4 where 3 should be", id="gap in versions"),
        pytest.param(versions_swapped, "I4", "version 2 where 1 should be", id="versions out of order"),
        pytest.param(without(is_a(InvoiceIssued)), "I6", "has a price and no invoice", id="no invoice"),
        pytest.param(invoiced_twice, "I6", "has 2 invoices", id="two invoices"),
        pytest.param(without(is_a(dialog.OrderPlaced)), "I6", "was never placed", id="invoice without an order"),
        pytest.param(changed(InvoiceIssued, total_minor=1), "I6", "total 1, sum", id="wrong sum"),
        pytest.param(
            changed(InvoiceIssued, currency="EUR"),
            "I6",
            "in another currency",
            id="currency",
        ),
        pytest.param(
            changed(InvoiceIssued, number="INV-2026-000007", which=1),
            "I6",
            "invoice INV-2026-000007 where number 2 should be",
            id="gap in invoice numbers",
        ),
        pytest.param(
            changed(InvoiceIssued, number="INV-2026-000001", which=1),
            "I6",
            "where number 2 should be",
            id="invoice number twice",
        ),
        pytest.param(without(is_about_one_delivery), "I7", "has no outcome", id="reply without an outcome"),
        pytest.param(sent_twice, "I7", "has 2 outcomes", id="reply sent twice"),
        pytest.param(sent_unasked, "I7", "was never requested", id="reply that nobody asked for"),
    ],
)
async def test_a_planted_violation_is_found(report_of, plant, name, complaint):
    placed = right_history()
    acknowledged = [each.id for topic, each in placed if topic == topics.INBOUND]
    report = await report_of(plant(placed), acknowledged=acknowledged)
    require_complaint(report, name, complaint)


@pytest.mark.postgres
async def test_a_fold_that_depends_on_the_process_is_found(report_of, postgres_url):
    placed = right_history()
    await report_of(placed)
    states = fold(each for _, each in placed)
    assert (await invariants.folds_agree(postgres_url, states, until_position=len(placed))).violations == 0
    # What a fold that looks at a clock would do: the states here are not the ones that another process comes to.
    here = {name: replace(state, wrong_answers=state.wrong_answers + 1) for name, state in states.items()}
    found = await invariants.folds_agree(postgres_url, here, until_position=len(placed))
    assert found.violations == 1
    assert "another one to" in found.examples[0]


@pytest.mark.postgres
async def test_a_reply_that_still_waits_is_no_violation(report_of, postgres_url):
    placed = without(is_about_one_delivery)(right_history())
    waiting = [
        each.id
        for _, each in placed
        if is_a(dialog.ReplyRequested)(each) and each.conversation == conversation_of("79")
    ]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA notify")
        connection.execute("CREATE TABLE notify.deliveries (id text, published_at timestamptz)")
        for delivery in waiting:
            connection.execute("INSERT INTO notify.deliveries (id) VALUES (%s)", (delivery,))
    found = of(await report_of(placed), "I7")
    assert found.violations == 0
    assert found.note == f"{len(waiting)} are still waiting to be sent"


@pytest.mark.postgres
async def test_dead_letters_are_shown_and_are_no_violation(report_of, postgres_url):
    async with open_ledger(postgres_url) as ledger:
        (record,) = as_records([(topics.INBOUND, message("77", 1, "hi"))])
        await ledger.append([replace(record, headers=())])
    report = await verify(postgres_url)
    assert report.violations == 0
    (letters,) = report.dead_letters
    assert (letters.service, letters.reason, letters.count) == ("ledger", "header ce_id is missing", 1)


@pytest.mark.postgres
async def test_a_dead_letter_that_was_put_back_and_sent_is_no_violation(report_of):
    placed = history("79", ["hi"])
    requested = next(each for _, each in placed if isinstance(each.data, dialog.ReplyRequested))
    (record,) = as_records([(topics.DIALOG, requested)])
    letter = dead_letter(record, "no such client", service="notify", incarnation="tests", now=requested.time)
    assert of(await report_of([*placed, (topics.DEAD, letter)]), "I7").violations == 0


@pytest.mark.postgres
async def test_settling_ends_when_its_time_is_over(report_of):
    placed = without(is_about_one_delivery)(right_history())
    assert of(await report_of(placed, settle_s=0.6), "I7").violations > 0


INBOUND = TopicPartition(topics.INBOUND, 0)


@pytest.mark.parametrize(
    ("position", "unrecorded", "wrong_position"), [(10, 0, 0), (8, 1, 1), (12, 0, 1)], ids=["right", "behind", "ahead"]
)
def test_positions_are_compared_with_the_ends(position, unrecorded, wrong_position):
    extents = {INBOUND: TopicExtent(oldest=0, end=10)}
    assert inbound_is_recorded(extents, {INBOUND: position}).violations == unrecorded
    assert positions_are_at_the_ends(extents, {INBOUND: position}).violations == wrong_position


def test_a_position_of_a_topic_that_is_not_there_is_found():
    assert positions_are_at_the_ends({}, {INBOUND: 3}).examples == (
        "chat.inbound/0: position 3 is above the topic's end 0",
    )


def test_the_live_table_is_compared_with_the_fold():
    states = fold(each for _, each in right_history())
    right = {name: encode_entry(state, OFFSET_NONE) for name, state in states.items()}
    first, second, third = sorted(states)

    def complaints(entries: dict[str, bytes], *, is_partial: bool = False) -> tuple[str, ...]:
        return table_is_the_fold(DialogTable(entries=entries, is_partial=is_partial), states).examples

    assert complaints(right) == ()
    assert complaints({**right, first: encode_entry(states[second], 5)})[0].startswith(first)
    assert complaints({**right, first: b"{}"}) == (f"{first}: its entry in the dialog's table is unreadable",)
    assert complaints({**right, "x/y/z": right[first]}) == ("x/y/z is in the dialog's table and not in history",)
    lost = {name: value for name, value in right.items() if name != third}
    assert complaints(lost) == (f"{third} is in history and not in the dialog's table",)
    assert complaints(lost, is_partial=True) == ()
