"""The aggregates as pure functions: given a state, when something is decided, then events or a broken rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.errors import InvariantViolated
from chatledger.events.orders import InvoiceIssued, OrderConfirmed, OrderCreated, OrderLine
from chatledger_billing import decisions, invoices, orders
from chatledger_billing.invoices import InvoiceStatus
from chatledger_billing.numbering import NumberRegister, Series
from chatledger_billing.orders import Order, OrderStatus
from chatledger_billing.projection import project
from chatledger_billing.rules import AMOUNT_MINOR_MAX, RuleBroken
from chatledger_billing.snapshots import follow
from chatledger_billing.store import decision_mapper, memory_store
from chatledger_billing.unit_of_work import UnitOfWork
from chatledger_billing.views import amount_view
from tests.services.billing_given import NOON, PROJECTS, WATER, cause, placed, unpriced

DRAFT = orders.evolve(None, orders.create(placed(), project="order-form", client_id="1"))
CONFIRMED = orders.evolve(DRAFT, orders.confirm(DRAFT))


def issue(order: Order, number: str = "INV-2026-000001") -> InvoiceIssued:
    return invoices.issue(order, number=number, issued_on=date(2026, 11, 21), payment_days=14)


def test_a_placed_order_becomes_a_draft_then_confirmed() -> None:
    assert (DRAFT.status, DRAFT.version) == (OrderStatus.DRAFT, 1)
    assert (CONFIRMED.status, CONFIRMED.version) == (OrderStatus.CONFIRMED, 2)


def test_an_order_is_confirmed_once() -> None:
    with pytest.raises(RuleBroken, match="only a draft"):
        orders.confirm(CONFIRMED)


def test_a_draft_is_not_invoiced() -> None:
    with pytest.raises(RuleBroken, match="only a confirmed order"):
        issue(DRAFT)


def test_an_invoice_takes_over_the_order_and_is_due_after_the_payment_days() -> None:
    issued = issue(CONFIRMED)
    invoice = invoices.evolve(None, issued)
    assert (issued.total_minor, issued.currency, issued.lines) == (75_000, "INR", (WATER,))
    assert (issued.issued_on, issued.due_on) == (date(2026, 11, 21), date(2026, 12, 5))
    assert (invoice.status, invoice.version, invoice.total_minor) == (InvoiceStatus.ISSUED, 1, 75_000)


def test_events_that_cannot_have_happened_are_refused() -> None:
    with pytest.raises(InvariantViolated):
        orders.evolve(None, OrderConfirmed(order_id="1"))
    with pytest.raises(InvariantViolated):
        invoices.evolve(invoices.evolve(None, issue(CONFIRMED)), issue(CONFIRMED))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (placed(lines=()), "at least one line"),
        (placed(lines=(replace(WATER, quantity=0),)), "at least 1"),
        (placed(lines=(replace(WATER, unit_price_minor=-1),)), "not negative"),
        (placed(lines=(WATER, replace(WATER, unit_price_minor=None))), "either every line"),
        (placed(currency=None), "has a currency"),
        (placed(currency="XXL"), "ISO 4217"),
        (placed(lines=(replace(WATER, unit_price_minor=AMOUNT_MINOR_MAX),)), "total is at most"),
        (placed(lines=(replace(WATER, name="a\0b"),)), "NUL"),
        (replace(placed(), order_id=""), "1 to 200"),
        (replace(placed(), order_number="7" * 201), "1 to 200"),
    ],
)
def test_an_order_against_a_rule_is_refused_with_the_rule(wrong, rule: str) -> None:
    with pytest.raises(RuleBroken, match=rule):
        decisions.place(cause(wrong), wrong, PROJECTS)


def test_an_order_of_an_unknown_project_cannot_be_invoiced() -> None:
    with pytest.raises(RuleBroken, match="no project 'gone'"):
        decisions.place(cause(placed(), project="gone"), placed(), PROJECTS)


def test_an_order_whose_payment_falls_behind_the_calendar_is_refused() -> None:
    with pytest.raises(RuleBroken, match="year 10000"):
        decisions.place(cause(placed(), time=NOON.replace(year=9999, month=12, day=31)), placed(), PROJECTS)


def test_an_order_without_a_price_has_no_invoice() -> None:
    order = unpriced(placed())
    decided = decisions.place(cause(order), order, PROJECTS)
    assert decided.payment_days is None
    assert decided.order.total is None
    with pytest.raises(RuleBroken, match="without a price"):
        issue(decided.order)


def test_the_register_counts_on_from_its_newest_event() -> None:
    register = NumberRegister(project="order-form", year=2026)
    given = register.give(["a", "b"])
    later = register.after(1, given)
    assert (given.first, later.last, later.give(["c"]).first) == (1, 2, 3)
    assert later.number(3) == "INV-2026-000003"


def test_credit_notes_have_numbers_of_their_own() -> None:
    register = NumberRegister(series=Series.CREDIT_NOTE, project="order-form", year=2026)
    assert register.number(1) == "CN-2026-000001"
    assert register.after(1, register.give(["a"])).series is Series.CREDIT_NOTE
    assert register.stream != NumberRegister(project="order-form", year=2026).stream


def test_an_event_keeps_its_cause_through_the_store() -> None:
    order = placed()
    work = UnitOfWork(memory_store())
    assert work.place(decisions.place(cause(order), order, PROJECTS))
    everything, mapper = work.complete(), decision_mapper()
    assert [each.event.type for each in everything] == [
        "order.created",
        "order.confirmed",
        "invoice.issued",
        "invoice_numbers.given",
    ]
    assert [mapper.to_domain_event(mapper.to_stored_event(each)) for each in everything] == everything
    envelope = decisions.to_envelope(everything[0])
    assert (envelope.causation_id, envelope.correlation_id) == (cause(order).id, cause(order).correlation_id)
    assert (envelope.stream, envelope.stream_version, envelope.time) == (f"order-{order.order_id}", 1, NOON)


def test_events_become_rows() -> None:
    order = placed()
    decided = decisions.place(cause(order), order, PROJECTS)
    log = list(enumerate(decided.decisions, start=7))

    def read_stream(name: str, until: int) -> list[decisions.Decision]:
        return [each for each in decided.decisions if each.originator_version <= until]

    (row,) = project(follow(log, read_stream)).orders.values()
    assert (row["status"], row["version"], row["position"], row["total_minor"]) == ("confirmed", 2, 7, 75_000)
    (later,) = project(follow(log[1:], read_stream)).orders.values()
    assert {**later, "position": 7} == row
    assert isinstance(decided.decisions[0].event, OrderCreated)


lines = st.lists(
    st.builds(
        OrderLine,
        name=st.text(st.characters(blacklist_characters="\0", codec="utf-8"), min_size=1, max_size=20),
        quantity=st.integers(1, 10_000),
        unit_price_minor=st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=20,
)


@given(lines=lines, currency=st.sampled_from(["JPY", "INR", "EUR", "KWD"]))
def test_an_invoice_totals_its_lines_to_the_minor_unit(lines: list[OrderLine], currency: str) -> None:
    order = placed(lines=lines, currency=currency)
    decided = decisions.place(cause(order), order, PROJECTS)
    issued = issue(decided.order)
    assert issued.total_minor == sum(line.quantity * (line.unit_price_minor or 0) for line in lines)
    shown = amount_view(issued.total_minor, currency)
    decimals = {"JPY": 0, "INR": 2, "EUR": 2, "KWD": 3}[currency]
    assert int(shown.amount.replace(".", "")) == issued.total_minor
    assert len(shown.amount.partition(".")[2]) == decimals
