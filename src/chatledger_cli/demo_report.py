"""What the demo reports: counts from the ledger, of this run and of all, and the tables that show them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from chatledger.errors import OutsideUnavailable
from chatledger.events.money import Money, format_money
from chatledger.events.orders import Discount, OrderLine
from chatledger.pricing import amounts

LAST_ORDERS = 3
"""So many of each project are shown."""
ITEMS_WIDTH_MAX = 16

COUNTS = """
SELECT split_part(metadata->>'conversation', '/', 1) AS project,
       count(*) AS events,
       count(*) FILTER (WHERE type = 'order.placed') AS orders,
       count(*) FILTER (WHERE type = 'invoice.issued') AS invoices
FROM ledger.events WHERE position > %s GROUP BY 1
"""
# The last 19 digits of a demo's message id begin with the 13 of its run.
TOTALS = """
SELECT count(*) FILTER (WHERE type = 'order.placed') AS orders,
       count(DISTINCT left(right(data->>'provider_message_id', 19), 13)) FILTER (
           WHERE type = 'message.received' AND data->>'provider_message_id' ~ '^(SM0{13})?[0-9]{19}$'
       ) AS runs
FROM ledger.events WHERE type IN ('order.placed', 'message.received')
"""
NEWEST = """
SELECT data->>'order_number' AS number, conversation, occurred_at, data
FROM (SELECT position, occurred_at, data, metadata->>'conversation' AS conversation,
             row_number() OVER (PARTITION BY split_part(metadata->>'conversation', '/', 1) ORDER BY position DESC) AS n
      FROM ledger.events WHERE type = 'order.placed') AS placed
WHERE n <= %s ORDER BY split_part(conversation, '/', 1), position DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one run, or of one project in it; the keys of `--json`."""

    webhooks: int
    acknowledged: int
    duplicates: int
    events: int
    orders: int
    invoices: int
    replies: int
    violations: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the ledger has of one project."""

    events: int = 0
    orders: int = 0
    invoices: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """Counts after a position by project, the orders and the demo's runs in the whole ledger, and its newest orders."""

    by_project: Mapping[str, Recorded]
    orders_total: int
    runs_total: int
    newest: list[dict[str, Any]]


async def last_position(database: str) -> int:
    """The newest position in the ledger, 0 for an empty one. Raises OutsideUnavailable."""
    rows = await _rows(database, "SELECT coalesce(max(position), 0) AS position FROM ledger.events", ())
    return int(rows[0]["position"])


async def count_in_ledger(database: str, *, after: int) -> LedgerCounts:
    """Count what was recorded after a position, and the orders of all time. Raises OutsideUnavailable."""
    counts = {row.pop("project"): Recorded(**row) for row in await _rows(database, COUNTS, (after,))}
    totals = (await _rows(database, TOTALS, None))[0]
    return LedgerCounts(
        by_project=counts,
        orders_total=totals["orders"],
        runs_total=totals["runs"],
        newest=await _rows(database, NEWEST, (LAST_ORDERS,)),
    )


async def _rows(database: str, query: str, values: Sequence[object] | None) -> list[dict[str, Any]]:
    try:
        async with await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()
    except psycopg.Error as wrong:
        raise OutsideUnavailable(f"the ledger does not answer: {wrong}") from wrong


def print_report(
    summary: Summary,
    by_project: Mapping[str, Mapping[str, int]],
    ledger: LedgerCounts,
    reply_ms: Sequence[float],
    console: Console,
) -> None:
    """Show the run's figures, of each project and together, and the ledger's orders."""
    several = len(by_project) > 1
    figures = Table(box=None, show_header=several, title="This run", title_justify="left", title_style="bold")
    for heading in ("", "together" if several else "", *(by_project if several else ())):
        figures.add_column(heading, justify="right" if heading else "left")
    for name, value in asdict(summary).items():
        own = [str(each.get(name, "")) for each in by_project.values()] if several else []
        figures.add_row(name, f"{value:,}", *own)
    if reply_ms:
        figures.add_row("webhook to reply", f"{statistics.median(reply_ms):.0f} ms (median)")
    console.print(figures)
    runs = f"{ledger.runs_total} run{'' if ledger.runs_total == 1 else 's'}"
    console.print(f"\nIn this ledger: {ledger.orders_total:,} orders from {runs}; the last of each project:")
    orders = Table(box=None, header_style="bold")
    for heading in ("order", "at (UTC)", "project", "client", "items", "total"):
        orders.add_column(heading, no_wrap=True)
    for order in ledger.newest:
        project, _, client = order["conversation"].split("/", 2)
        placed = order["occurred_at"].strftime("%H:%M:%S")
        orders.add_row(order["number"], placed, project, client, _items(order["data"]), _total(order["data"]))
    console.print(orders)


def _items(order: dict[str, Any]) -> str:
    items = ", ".join(f"{line['quantity']} {line['name']}" for line in order["lines"])
    return items if len(items) <= ITEMS_WIDTH_MAX else f"{items[: ITEMS_WIDTH_MAX - 1]}…"


def _total(order: dict[str, Any]) -> str:
    """What the order comes to; empty where it has no price."""
    lines = [OrderLine(**line) for line in order["lines"]]
    if order["currency"] is None or any(line.unit_price_minor is None for line in lines):
        return ""
    discounts = [Discount(**discount) for discount in order.get("discounts", ())]
    sums = amounts(lines, discounts, tax_inclusive=order.get("tax_inclusive", False))
    return format_money(Money(minor=sums.total_minor, currency=order["currency"]), "en", "IN")
