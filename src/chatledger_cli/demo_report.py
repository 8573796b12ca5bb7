"""What the demo reports: counts from the ledger, of this run and of all, and the table that shows them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from chatledger.errors import OutsideUnavailable
from chatledger.events.money import Money, format_money

LAST_ORDERS = 5

COUNTS = """
SELECT count(*) AS events,
       count(*) FILTER (WHERE type = 'order.placed') AS orders,
       count(*) FILTER (WHERE type = 'invoice.issued') AS invoices
FROM ledger.events WHERE position > %s
"""
# A demo's client id has 17 digits, of which the first 13 are its run.
TOTALS = """
SELECT count(*) AS orders,
       count(DISTINCT left(client, 13)) FILTER (WHERE length(client) = 17) AS runs
FROM (SELECT split_part(metadata->>'conversation', '/', 3) AS client
      FROM ledger.events WHERE type = 'order.placed') AS placed
"""
NEWEST = """
SELECT data->>'order_number' AS number, metadata->>'conversation' AS conversation, occurred_at,
       data->>'currency' AS currency, data->'lines'->0 AS line
FROM ledger.events WHERE type = 'order.placed' ORDER BY position DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one run; the keys of `--json`."""

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
class LedgerCounts:
    """Counts after a position, the number of orders and of demo runs in the whole ledger, and its newest orders."""

    events: int
    orders: int
    invoices: int
    orders_total: int
    runs_total: int
    newest: list[dict[str, Any]]


async def last_position(database: str) -> int:
    """The newest position in the ledger, 0 for an empty one. Raises OutsideUnavailable."""
    rows = await _rows(database, "SELECT coalesce(max(position), 0) AS position FROM ledger.events", ())
    return int(rows[0]["position"])


async def count_in_ledger(database: str, *, after: int) -> LedgerCounts:
    """Count what was recorded after a position, and the orders of all time. Raises OutsideUnavailable."""
    counts = (await _rows(database, COUNTS, (after,)))[0]
    totals = (await _rows(database, TOTALS, ()))[0]
    return LedgerCounts(
        **counts,
        orders_total=totals["orders"],
        runs_total=totals["runs"],
        newest=await _rows(database, NEWEST, (LAST_ORDERS,)),
    )


async def _rows(database: str, query: str, values: Sequence[object]) -> list[dict[str, Any]]:
    try:
        async with await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()
    except psycopg.Error as wrong:
        raise OutsideUnavailable(f"the ledger does not answer: {wrong}") from wrong


def print_report(summary: Summary, ledger: LedgerCounts, reply_ms: Sequence[float], console: Console) -> None:
    """Show the run's figures, and the ledger's orders."""
    figures = Table(box=None, show_header=False, title="This run", title_justify="left", title_style="bold")
    for name, value in asdict(summary).items():
        figures.add_row(name, f"{value:,}")
    if reply_ms:
        figures.add_row("webhook to reply", f"{statistics.median(reply_ms):.0f} ms (median)")
    console.print(figures)
    runs = f"{ledger.runs_total} run{'' if ledger.runs_total == 1 else 's'}"
    console.print(f"\nIn this ledger: {ledger.orders_total:,} orders from {runs}; the last of them:")
    orders = Table(box=None, header_style="bold")
    for heading in ("order", "placed (UTC)", "client", "quantity", "total"):
        orders.add_column(heading, no_wrap=True)
    for order in ledger.newest:
        line = order["line"]
        orders.add_row(
            order["number"],
            order["occurred_at"].strftime("%Y-%m-%d %H:%M:%S"),
            order["conversation"].rpartition("/")[2],
            str(line["quantity"]),
            _total(line, order["currency"]),
        )
    console.print(orders)


def _total(line: dict[str, Any], currency: str | None) -> str:
    if currency is None or line["unit_price_minor"] is None:
        return ""
    return format_money(Money(minor=line["unit_price_minor"] * line["quantity"], currency=currency), "en", "IN")
