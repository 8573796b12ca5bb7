"""history.orders_at is billing's fold: at every moment it shows what the rows of billing's read model would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger.events import Event
from chatledger.events.ids import derive_id, order_number
from chatledger.events.orders import CancellationRefused, Discount, OrderCreated, OrderLine
from chatledger.ports import ConsumedRecord, LedgerEvent
from chatledger.pricing import amounts
from chatledger_billing import history, invoices, orders
from chatledger_billing.decisions import Cause, Decision, to_envelope
from chatledger_billing.invoices import Invoice
from chatledger_billing.orders import Order
from chatledger_billing.rules import RuleBroken
from chatledger_billing.snapshots import Snapshot
from tests.services.billing_given import NOON
from tests.support.history_sql import HistoryDatabase, Row, history_database, without_nulls
from tests.support.ledger import Placed
from tests.support.postgres import fresh_database

pytestmark = pytest.mark.postgres
RUNS = count()
KNOWN_AT = """
SELECT moment, known.*
FROM unnest(%s::timestamptz[]) AS moment, LATERAL history.order_at(%s, moment) AS known
ORDER BY moment
"""
ON_ONE_DATABASE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
INVOICE_COLUMNS = {
    "invoice_id": "id",
    "invoice_number": "number",
    "invoice_status": "status",
    "invoice_total_minor": "total_minor",
    "paid_minor": "paid_minor",
    "credit_note": "credit_note",
    "issued_on": "issued_on",
    "due_on": "due_on",
    "invoice_updated_at": "updated_at",
}
"""The columns of an order's invoice, and what billing's own row calls them."""


@pytest.fixture(scope="module")
def url(postgres_server) -> Iterator[str]:
    """One database for all examples: each has an order of its own."""
    with fresh_database(postgres_server) as database:
        yield database


@pytest.fixture
async def database(url: str) -> AsyncIterator[HistoryDatabase]:
    async with history_database(url) as opened:
        yield opened


def lines_of(prices: st.SearchStrategy[int | None]) -> st.SearchStrategy[tuple[OrderLine, ...]]:
    line = st.builds(
        OrderLine,
        name=st.just("thing"),
        quantity=st.integers(1, 1_000),
        unit_price_minor=prices,
        sku=st.none() | st.just("a"),
        tax_bp=st.sampled_from([None, 0, 500, 1_200, 1_800, 333]),
    )
    return st.lists(line, min_size=1, max_size=4).map(tuple)


priced_lines = lines_of(st.integers(0, 99_999))
discounts = st.lists(
    st.one_of(
        st.builds(Discount, name=st.just("share"), percent_bp=st.integers(0, 10_000)),
        st.builds(Discount, name=st.just("amount"), amount_minor=st.integers(0, 500_000)),
    ),
    max_size=3,
).map(tuple)
carts = st.tuples(priced_lines, discounts, st.booleans())


TIE = (
    tuple(OrderLine(name="x", quantity=1, unit_price_minor=10, tax_bp=rate) for rate in (500, 1_800)),
    (Discount(name="odd", amount_minor=1),),
    False,
)
"""The odd unit of the discount could be at either rate."""


@given(st.lists(carts, min_size=1, max_size=20))
@example([TIE])
@settings(ON_ONE_DATABASE, max_examples=100)
async def test_an_order_comes_to_the_same_in_sql(database: HistoryDatabase, wanted: list[Any]) -> None:
    rows = await database.ask(
        "SELECT (come_to.amounts).*"
        " FROM jsonb_array_elements(%s::text::jsonb) WITH ORDINALITY AS cart,"
        " LATERAL (SELECT history.amounts_of(value -> 0, value -> 1, (value ->> 2)::boolean) AS amounts) AS come_to"
        " ORDER BY ordinality",
        orjson.dumps(wanted).decode(),
    )
    computed = [amounts(lines, reductions, tax_inclusive=inclusive) for lines, reductions, inclusive in wanted]
    assert [tuple(int(value) for value in row.values()) for row in rows] == [
        (each.subtotal_minor, each.discount_minor, each.tax_minor, each.total_minor) for each in computed
    ]


@dataclass(kw_only=True)
class Billed:
    """An order and its invoice as commands make them, one after the other; `placed` is what lies on chat.billing."""

    created: OrderCreated
    number: int
    placed: Placed = field(default_factory=list)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @property
    def order(self) -> Order:
        state = self.snapshots[orders.order_stream(self.created.order_id)].state
        assert isinstance(state, Order)
        return state

    @property
    def invoice(self) -> Invoice:
        stream = invoices.invoice_stream(invoices.invoice_id_of(self.created.order_id))
        if stream not in self.snapshots:
            raise RuleBroken("there is no invoice")
        state = self.snapshots[stream].state
        assert isinstance(state, Invoice)
        return state

    def happened(self, stream: str, *events: Event) -> None:
        for event in events:
            before = self.snapshots.get(stream)
            number = len(self.placed)
            cause = Cause(
                conversation=f"store/twilio/{self.created.client_id}",
                time=NOON + timedelta(minutes=number),
                correlation_id=derive_id("correlation", stream),
                causation_id=derive_id("cause", stream, number),
                traceparent=None,
            )
            version = 1 if before is None else before.state.version + 1
            envelope = to_envelope(Decision(originator_id=stream, originator_version=version, cause=cause, event=event))
            after = history.step(before, envelope)
            assert after is not None
            self.snapshots[stream] = after
            self.placed.append((topics.BILLING, envelope))

    def do(self, command: str, amount: int) -> None:
        """Carry out one command. Raises RuleBroken, having done nothing."""
        order, stream, reference = self.order, orders.order_stream(self.created.order_id), f"R{len(self.placed)}"
        money = invoices.invoice_stream(invoices.invoice_id_of(order.id))
        match command:
            case "add":
                line = OrderLine(name="more", quantity=amount, unit_price_minor=7, tax_bp=500)
                self.happened(stream, orders.add_item(order, line))
            case "remove":
                self.happened(stream, orders.remove_item(order, amount % len(order.lines)))
            case "confirm":
                self.happened(stream, orders.confirm(order))
            case "advance":
                self.happened(stream, orders.advance(order))
            case "cancel":
                self.happened(stream, orders.cancel(order, "too late"))
            case "refuse":
                self.happened(stream, CancellationRefused(order_id=order.id, rule="it has left"))
            case "issue":
                if money in self.snapshots:
                    raise RuleBroken("one is enough")
                number = f"INV-2026-{self.number:06d}"
                issued = invoices.issue(order, number=number, issued_on=date(2026, 11, 21), payment_days=14)
                self.happened(money, issued)
                self.happened(money, *invoices.settle(self.invoice))
            case "pay" | "pay all":
                minor = self.invoice.balance_minor if command == "pay all" else amount
                paid = invoices.pay(self.invoice, reference=reference, amount_minor=minor, method="bank", paid_at=NOON)
                self.happened(money, *paid)
            case "refund":
                sent = invoices.refund(self.invoice, reference=reference, amount_minor=amount, reason="broken")
                self.happened(money, *sent)
            case "void":
                self.happened(money, invoices.void(self.invoice, credit_note=f"CN-{self.number}", reason="wrong"))


COMMANDS = ("add", "remove", "confirm", "issue", "pay", "pay all", "refund", "void", "advance", "cancel", "refuse")
lives = st.tuples(
    priced_lines | lines_of(st.none()),
    discounts,
    st.booleans(),
    st.lists(st.sampled_from(["add", "remove"]), max_size=3),
    st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(1, 5_000)), max_size=12),
)


CEMENT = (OrderLine(name="Cement", quantity=100, unit_price_minor=5_000, tax_bp=1_800),)


@given(lives)
@example(
    (CEMENT, (), False, ["add", "remove"], [(each, 900) for each in ("pay", "refund", "pay all", "refund", "void")])
)
@example((CEMENT, (), True, [], [(each, 900) for each in ("pay", "void", "refund", "advance", "refuse", "cancel")]))
@example((CEMENT, (Discount(name="all", percent_bp=10_000),), False, [], [("issue", 1), ("cancel", 1)]))
@ON_ONE_DATABASE
async def test_at_every_moment_of_an_order_sql_shows_what_billings_rows_would(
    database: HistoryDatabase, life: Any
) -> None:
    lines, reductions, inclusive, changes, commands = life
    number = next(RUNS)
    billed = order_of(number, lines, reductions, inclusive)
    usual = [("confirm", 1), ("issue", 1)] if number % 8 != 7 else []
    for command, amount in [*((change, number) for change in changes), *usual, *commands]:
        try:
            billed.do(command, amount)
        except RuleBroken:
            continue
    events = await database.record(billed.placed)
    moments = [events[0].recorded_at - timedelta(microseconds=1), *(event.recorded_at for event in events)]
    rows = await database.ask(KNOWN_AT, moments, billed.created.order_id)
    assert rows == [{"moment": moment, **known_order(events[:end])} for end, moment in enumerate(moments) if end]


def order_of(number: int, lines: tuple[OrderLine, ...], reductions: tuple[Discount, ...], inclusive: bool) -> Billed:
    """A draft that billing has just taken over."""
    order_id = derive_id("an order", number)
    created = OrderCreated(
        order_id=order_id,
        order_number=order_number(order_id),
        project="store",
        client_id=f"+91{number}",
        lines=lines,
        currency=None if lines[0].unit_price_minor is None else "INR",
        address="Baker Street 221b",
        phone="+919900000001",
        discounts=reductions,
        tax_inclusive=inclusive,
    )
    billed = Billed(created=created, number=number)
    billed.happened(orders.order_stream(order_id), created)
    return billed


def known_order(events: list[LedgerEvent]) -> Row:
    """What history.orders_at shows of the one order in these events, by billing's own fold and rows."""
    snapshots: dict[str, Snapshot] = {}
    last_position = 0
    for event in events:
        stream = event.envelope.stream
        after = history.step(snapshots.get(stream), event.envelope)
        assert after is not None
        snapshots[stream] = after
        last_position = event.position if stream.startswith("order-") else last_position
    shown = {stream.partition("-")[0]: history.shown(each) for stream, each in snapshots.items()}
    order, invoice = shown["order"], shown.get("invoice", {})
    row = {name: order[name] for name in ORDER_COLUMNS}
    row |= {name: invoice.get(billings) for name, billings in INVOICE_COLUMNS.items()}
    row |= {
        "cancel_reason": order["reason"],
        "lines": [without_nulls(line) for line in order["lines"]],
        "last_position": last_position,
        "stream": f"order-{order['id']}",
    }
    return {name: _read(name, value) for name, value in row.items()}


ORDER_COLUMNS = (
    *("id", "number", "project", "conversation", "client_id", "status", "currency", "version"),
    *("subtotal_minor", "discount_minor", "tax_minor", "total_minor", "placed_at", "updated_at"),
)


def _read(name: str, value: Any) -> Any:
    if value is not None and name.endswith("_at"):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if value is not None and name.endswith("_on") else value


async def test_all_orders_are_listed_each_once(postgres_url: str) -> None:
    async with history_database(postgres_url) as database:
        expected = {}
        for number in range(5):
            line = OrderLine(name="Cement", quantity=3, unit_price_minor=5_000, tax_bp=1_800)
            billed = order_of(number, (line,), (), number % 2 == 0)
            for command in ("confirm", "issue", "pay all", "advance")[:number]:
                billed.do(command, 1)
            expected[billed.created.order_id] = known_order(await database.record(billed.placed, at_once=3))
        rows = await database.ask("SELECT * FROM history.orders_at('infinity')")
        assert {row["id"]: row for row in rows} == expected
        assert await database.ask("SELECT * FROM history.orders_at('-infinity')") == []


OF_VERSION_2 = {
    "message.received": {"client_name"},
    "message.sent": {"regarding"},
    "reply.requested": {"purpose", "regarding", "last_message_at", "template"},
    "order.created": {"discounts", "tax_inclusive"},
    "invoice.issued": {
        *("order_number", "tax_inclusive", "subtotal_minor", "discounts", "discount_minor", "taxes", "tax_minor")
    },
}
"""What version 1 of these did not have."""


def of_version_1(record: ConsumedRecord) -> ConsumedRecord:
    """The record as a program of then wrote it, where there was a version 1."""
    headers = dict(record.headers)
    later = OF_VERSION_2.get(headers["ce_type"].decode())
    if later is None:
        return record
    data = {name: value for name, value in orjson.loads(record.value or b"").items() if name not in later}
    headers["ce_dataschema"] = headers["ce_dataschema"].replace(b":2", b":1")
    return replace(record, value=orjson.dumps(data), headers=tuple(headers.items()))


async def test_orders_and_invoices_of_schema_version_1_are_read_as_the_upcasters_read_them(postgres_url: str) -> None:
    async with history_database(postgres_url) as database:
        billed = order_of(1, (OrderLine(name="Cement", quantity=3, unit_price_minor=5_000),), (), False)
        for command in ("confirm", "issue", "pay"):
            billed.do(command, 100)
        records = [recorded(each, topic=topic, offset=place) for place, (topic, each) in enumerate(billed.placed)]
        await database.record_raw([of_version_1(each) for each in records])
        events = [event async for event in database.ledger.read()]
        versions = await database.ask("SELECT type, schema_version FROM history.events WHERE version = 1")
        assert [tuple(row.values()) for row in versions] == [("order.created", 1), ("invoice.issued", 1)]
        rows = await database.ask("SELECT * FROM history.orders_at('infinity')")
        assert rows == [known_order(events)]
        assert rows[0]["invoice_status"] == "partly_paid"
