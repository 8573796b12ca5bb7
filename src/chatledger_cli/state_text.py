"""States and differences in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from chatledger.events.codec import type_and_version
from chatledger.events.money import Money
from chatledger.ports import LedgerEvent
from chatledger_billing.rules import amount_text
from chatledger_cli.kinds import CONVERSATION, INVOICE, ORDER
from chatledger_cli.moments import shown
from chatledger_ledger.differences import Change
from chatledger_ledger.kinds import CLIENT, Shown
from chatledger_ledger.time_travel import Difference, ExplainedStep, Known

Fact = tuple[str, object]
VALUE_LENGTH_SHOWN = 100
NOTHING = "-"


def describe(known: Known) -> str:
    """Return the state, one fact a line; what is not known is left out. Addresses are shown: it is where to deliver."""
    facts: list[Fact] = [(known.kind, known.id)]
    facts += _FACTS[known.kind](known.state) if known.state is not None else [("status", "not there yet")]
    if known.last_event is not None:
        facts += [
            ("events", known.events),
            ("last event", type_and_version(known.last_event.envelope.data)[0]),
            ("recorded", _place(known.last_event)),
        ]
    return _table(facts)


def describe_difference(difference: Difference, *, quiet: frozenset[str]) -> str:
    """Return what changed, one field a line, and the events that did it; what ends in a quiet field is left out."""
    before, after = difference.before, difference.after
    lines = [_table([(after.kind, after.id), ("from", _reached(before)), ("to", _reached(after))])]
    loud = [each for each in difference.changes if not _is_quiet(each.field, quiet)]
    lines += ["", _table([(each.field, _change(each)) for each in loud]) if loud else "nothing changed"]
    told = [(each, fields) for each in difference.steps if (fields := _loud(each, quiet))]
    if told:
        lines += ["", _columns([_told(each, fields) for each, fields in told])]
    return "\n".join(lines)


def _conversation(state: Shown) -> list[Fact]:
    shop = state["shop"] or {}
    return [
        ("status", state["status"]),
        ("version", state["version"]),
        ("flow", state["flow"]),
        ("language", state["language"]),
        ("address", state["address"]),
        ("phone", state["phone"]),
        ("quantity", state["quantity"]),
        ("order", state["order_id"]),
        *(("cart", _line(line, None)) for line in shop.get("cart", ())),
        *(("ordered", f"{each['number']} {each['status']}") for each in shop.get("orders", ())),
        ("opted out", "of promotions" if state["opted_out"] else None),
        ("wrong answers", state["wrong_answers"] or None),
        ("last message", _time(state["last_message_at"])),
        ("expires", state["timer_due"] and f"{_time(state['timer_due'])}, or later"),
        ("messages", sum(len(causes) for _, causes in state["handled"]) or None),
    ]


def _order(state: Shown) -> list[Fact]:
    return [
        ("number", state["number"]),
        ("status", state["status"]),
        ("reason", state["reason"]),
        ("version", state["version"]),
        ("client", state["conversation"]),
        *(("line", _line(line, state["currency"])) for line in state["lines"]),
        *_amounts(state, "subtotal", "discount", "tax", "total"),
        ("placed", _time(state["placed_at"])),
        ("updated", _time(state["updated_at"])),
    ]


def _invoice(state: Shown) -> list[Fact]:
    currency = state["currency"]
    return [
        ("number", state["number"]),
        ("status", state["status"]),
        ("version", state["version"]),
        ("client", state["conversation"]),
        ("order", state["order_number"] or state["order_id"]),
        *(("line", _line(line, currency)) for line in state["lines"]),
        *_amounts(state, "subtotal", "discount", "tax", "total", "paid"),
        *(
            ("payment", f"{_amount(each['amount_minor'], currency)} {each['method']} {each['reference']}")
            for each in state["payments"]
        ),
        *(
            ("refund", f"{_amount(each['amount_minor'], currency)} {each['reference']}: {each['reason']}")
            for each in state["refunds"]
        ),
        ("void by", state["credit_note"] and f"{state['credit_note']}: {state['void_reason']}"),
        ("issued on", state["issued_on"]),
        ("due on", state["due_on"]),
        ("updated", _time(state["updated_at"])),
    ]


def _client(state: Shown) -> list[Fact]:
    facts: list[Fact] = []
    for name, each in state[CONVERSATION.plural].items():
        wrote = f", last wrote {_time(each['last_message_at'])}" if each["last_message_at"] else ""
        facts.append(("conversation", f"{name} {each['status']}{wrote}"))
    for each in state[ORDER.plural].values():
        facts.append(("order", f"{each['number']} {each['status']} {_total(each)}, placed {_time(each['placed_at'])}"))
    for each in state[INVOICE.plural].values():
        paid = _amount(each["paid_minor"], each["currency"])
        facts.append(("invoice", f"{each['number']} {each['status']} {_total(each)}, paid {paid}"))
    return facts


_FACTS: dict[str, Callable[[Shown], list[Fact]]] = {
    CONVERSATION.name: _conversation,
    ORDER.name: _order,
    INVOICE.name: _invoice,
    CLIENT: _client,
}


def _table(facts: Sequence[Fact]) -> str:
    # The width of all names, shown or not, so that a kind's facts are always indented alike.
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts if value is not None)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _amounts(state: Shown, *names: str) -> Iterable[Fact]:
    for name in names:
        minor = state[f"{name}_minor"]
        yield name, None if minor is None else _amount(minor, state["currency"])


def _total(state: Shown) -> str:
    return "without a price" if state["total_minor"] is None else _amount(state["total_minor"], state["currency"])


def _amount(minor: int, currency: str) -> str:
    return amount_text(Money(minor=minor, currency=currency))


def _line(line: Any, currency: str | None) -> str:
    price = line["unit_price_minor"]
    what = " ".join(filter(None, (str(line["quantity"]), line.get("unit"), line["name"])))
    return what if price is None or currency is None else f"{what} at {_amount(price, currency)}"


def _time(text: str | None) -> str | None:
    return None if text is None else shown(datetime.fromisoformat(text))


def _place(event: LedgerEvent) -> str:
    return f"{shown(event.recorded_at)}, position {event.position}"


def _reached(known: Known) -> str:
    if known.last_event is None:
        return "nothing was known"
    counted = "1 event" if known.events == 1 else f"{known.events} events, the last"
    return f"{counted} recorded {_place(known.last_event)}"


def _change(change: Change) -> str:
    return f"{_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= VALUE_LENGTH_SHOWN else text[: VALUE_LENGTH_SHOWN - 1] + "…"


def _loud(each: ExplainedStep, quiet: frozenset[str]) -> list[str]:
    return [field for field in each.step.fields if not _is_quiet(field, quiet)]


def _is_quiet(field: str, quiet: frozenset[str]) -> bool:
    return re.sub(r"(\[\d+\])+$", "", field).rpartition(".")[2] in quiet


def _told(each: ExplainedStep, fields: Sequence[str]) -> tuple[str, ...]:
    event, cause = each.step.event, each.cause
    because = ""
    if cause is not None:
        because = f"because of {cause.type} at {cause.position}" if cause.type else f"because of {cause.id}"
    return (
        str(event.position),
        shown(event.recorded_at),
        type_and_version(event.envelope.data)[0],
        because,
        ", ".join(fields),
    )
