"""The object-centric event log keeps every rule of OCEL 2.0, by our own strict reading and by a validator's."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import chatledger.history
from chatledger.errors import InvariantViolated
from chatledger.events import EVENTS, UnknownEvent
from chatledger.events.dialog import OrderPlaced
from chatledger.events.ids import derive_id
from chatledger.events.orders import InvoiceIssued, InvoicePaid
from chatledger.history.exports import export_ocel
from chatledger.history.ocel_facts import event_columns
from chatledger.history.queries import EventQuery
from tests.support.exported import both_flows, record, validator
from tests.support.postgres import fresh_database
from tests.unit.event_examples import EXAMPLES, INVOICE_ID, example_envelope
from tests.unit.test_anonymised import in_ledger

pytestmark = pytest.mark.postgres

PLACED = both_flows()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
KINDS = {"TEXT": str, "INTEGER": int, "BOOLEAN": int, "TIMESTAMP": str}
STORE = "store/twilio/+919900000001"


@pytest.fixture(scope="module")
def log(postgres_server, tmp_path_factory) -> Iterator[Path]:
    """The event log of both flows."""
    with fresh_database(postgres_server) as url:
        record(url, PLACED)
        path = tmp_path_factory.mktemp("ocel") / "history.sqlite"
        with chatledger.history.open(url) as opened:
            assert export_ocel(opened.events(), path).rows == len(PLACED)
        yield path


@pytest.fixture
def tables(log: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(log)) as connection:
        yield connection


def every_class_and_unknown_ones() -> list[Any]:
    """One event of every class, one of each kind that this code cannot read, and types whose tables would clash."""
    events = [
        *EXAMPLES.values(),
        UnknownEvent(type_name="message.received", schema_version=9, data={"a": [1]}),
        *(
            UnknownEvent(type_name=name, schema_version=1, data={})
            for name in ("object", "Object", "map.type", "!", "a b")
        ),
    ]
    return [
        in_ledger(replace(example_envelope(event), id=derive_id("ocel", at)), position=at)
        for at, event in enumerate(events, start=1)
    ]


def query_of(events: list[Any]) -> EventQuery:
    return EventQuery(lambda: iter(()), lambda: iter(events))


def columns_of(tables: sqlite3.Connection, table: str) -> dict[str, str]:
    return {name: kind for _, name, kind, *_ in tables.execute(f'PRAGMA table_info("{table}")')}


def types_of(tables: sqlite3.Connection, of: str) -> dict[str, str]:
    return dict(tables.execute(f"SELECT ocel_type, ocel_type_map FROM {of}_map_type"))


def broken_rules(tables: sqlite3.Connection) -> list[str]:
    """What breaks a rule of the standard's relational form, one sentence each."""
    broken = [f"{table} has a key that leads nowhere" for table, *_ in tables.execute("PRAGMA foreign_key_check")]
    broken += [f"integrity: {said}" for (said,) in tables.execute("PRAGMA integrity_check") if said != "ok"]
    for of in ("event", "object"):
        for kind, name in types_of(tables, of).items():
            table = f"{of}_{name}"
            columns = columns_of(tables, table)
            head = ["ocel_id", "ocel_time"] + (["ocel_changed_field"] if of == "object" else [])
            if list(columns)[: len(head)] != head:
                broken.append(f"{table} begins with {list(columns)}")
            ids = {each for (each,) in tables.execute(f'SELECT ocel_id FROM "{table}"')}
            if ids != {each for (each,) in tables.execute(f"SELECT ocel_id FROM {of} WHERE ocel_type = ?", (kind,))}:
                broken.append(f"{table} and {of} tell of different ids")
            for row in tables.execute(f'SELECT * FROM "{table}"'):
                broken += broken_in_row(table, columns, dict(zip(columns, row, strict=True)))
    return broken


def broken_in_row(table: str, columns: dict[str, str], row: dict[str, Any]) -> Iterator[str]:
    changed = row.get("ocel_changed_field")
    for name, value in row.items():
        if value is not None and not isinstance(value, KINDS[columns[name]]):
            yield f"{table}.{name} is {columns[name]} and holds {value!r}"
        if columns[name] == "TIMESTAMP" and value is not None:
            if not TIME.fullmatch(value):
                yield f"{table}.{name} holds {value!r}, which is no time"
            else:
                datetime.fromisoformat(value)
        if columns[name] == "BOOLEAN" and value not in (None, 0, 1):
            yield f"{table}.{name} holds {value!r}, which is neither true nor false"
    own = {name: value for name, value in row.items() if not name.startswith("ocel_")}
    if changed is not None and {name for name, value in own.items() if value is not None} != {changed}:
        yield f"{table} changes {changed} and holds {own}"
    if table.startswith("object_") and changed is None and row["ocel_time"] != "1970-01-01T00:00:00.000000Z":
        yield f"{table} begins at {row['ocel_time']}"


def test_the_log_keeps_every_rule(tables):
    assert broken_rules(tables) == []
    names = {name for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    fixed = {"event", "object", "event_object", "object_object", "event_map_type", "object_map_type"}
    own = {f"{of}_{name}" for of in ("event", "object") for name in types_of(tables, of).values()}
    assert names == fixed | own


@pytest.mark.parametrize(
    "breaking",
    [
        "INSERT INTO event_object VALUES ('nobody', 'nothing', 'x')",
        "DELETE FROM object_order WHERE ocel_changed_field IS NULL OR ocel_changed_field IS NOT NULL",
        "UPDATE event_OrderPlaced SET ocel_time = '2 March'",
        "UPDATE object_order SET currency = 'INR' WHERE ocel_changed_field = 'status'",
        "UPDATE event_MessageSent SET attempts = 'one'",
    ],
)
def test_a_log_that_breaks_a_rule_is_found(log, tmp_path, breaking):
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(log.read_bytes())
    with closing(sqlite3.connect(copy)) as tables:
        tables.execute(breaking)
        assert broken_rules(tables)


@pytest.mark.timeout(700)
def test_a_validator_accepts_the_log(log, tmp_path):
    program = validator()
    everything = tmp_path / "everything.sqlite"
    export_ocel(query_of(every_class_and_unknown_ones()), everything)
    for path in (log, everything):
        done = subprocess.run([program, "validate", path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout == f"valid: {path}\n"
    # What it read is what we wrote: nothing was passed over.
    read = tmp_path / "read.json"
    subprocess.run([program, "convert", log, read], check=True, capture_output=True)
    known = json.loads(read.read_text())
    assert len(known["events"]) == len(PLACED)
    placed = next(each for each in known["events"] if each["type"] == "order.placed")
    assert {(each["objectId"].partition(":")[0], each["qualifier"]) for each in placed["relationships"]} == {
        ("client", "of"),
        ("conversation", "in"),
        ("order", "placed"),
        ("message", "caused by"),
    }
    copy = tmp_path / "broken.sqlite"
    copy.write_bytes(log.read_bytes())
    with closing(sqlite3.connect(copy, isolation_level=None)) as tables:
        tables.execute("INSERT INTO event_object SELECT ocel_id, 'nothing', 'x' FROM event LIMIT 1")
    assert subprocess.run([program, "validate", copy], check=False, capture_output=True).returncode == 1


def test_every_class_of_events_has_its_table(tmp_path):
    events, path = every_class_and_unknown_ones(), tmp_path / "everything.sqlite"
    assert export_ocel(query_of(events), path).rows == len(events)
    with closing(sqlite3.connect(path)) as tables:
        assert broken_rules(tables) == []
        kinds = types_of(tables, "event")
        assert set(kinds) >= {kind.type for kind in EXAMPLES} | {"object (unknown)", "message.received (unknown)"}
        for kind in EVENTS:
            if kind in EXAMPLES:
                declared = columns_of(tables, f"event_{kinds[kind.type]}")
                assert list(declared) == ["ocel_id", "ocel_time", *event_columns(kind)]
        due, status = tables.execute("SELECT due, kind FROM event_TimerRequested").fetchone()
        assert (due, status) == ("2026-01-05T10:30:15.250000Z", "expiry")


def test_objects_are_related_as_they_are(tables):
    links = set(tables.execute("SELECT ocel_source_id, ocel_target_id, ocel_qualifier FROM object_object"))
    kinds = {(source.partition(":")[0], target.partition(":")[0], said) for source, target, said in links}
    assert kinds == {
        ("conversation", "client", "of client"),
        ("order", "conversation", "placed in"),
        ("invoice", "order", "for order"),
        ("message", "conversation", "part of"),
    }
    assert (f"conversation:{STORE}", "client:store/+919900000001", "of client") in links
    counted = dict(tables.execute("SELECT ocel_type, count(*) FROM object GROUP BY 1"))
    messages = sum(each.data.type in ("message.received", "reply.requested") for _, each in PLACED)
    assert counted == {"client": 3, "conversation": 3, "order": 3, "invoice": 3, "message": messages}


def test_what_changed_is_told_in_its_order(tables):
    orders = {each.data.order_id for _, each in PLACED if isinstance(each.data, OrderPlaced)}
    told = {order: changes_of(tables, "order", order, "status") for order in orders}
    assert sorted(told.values()) == [
        ["placed", "draft", "confirmed"],
        ["placed", "draft", "confirmed", "cancelled"],
        ["placed", "draft", "confirmed", "shipped"],
    ]
    paid = next(each.data.invoice_id for _, each in PLACED if isinstance(each.data, InvoicePaid))
    totals = {each.data.invoice_id: each.data.total_minor for _, each in PLACED if isinstance(each.data, InvoiceIssued)}
    total = totals[paid]
    assert changes_of(tables, "invoice", paid, "paid_minor") == [total * 40 // 100, total]
    assert changes_of(tables, "invoice", paid, "status") == ["issued", "partly_paid", "paid", "paid"]
    statuses = [
        changes_of(tables, "message", each.id, "status") for _, each in PLACED if each.data.type == "reply.requested"
    ]
    assert ["requested", "sent", "delivered", "read"] in statuses
    assert ["requested"] in statuses


def test_a_refund_is_taken_off_and_a_void_invoice_stays_void(tmp_path):
    kinds = ("invoice.issued", "payment.recorded", "payment.refunded", "invoice.voided", "payment.refunded")
    by_type = {kind.type: example for kind, example in EXAMPLES.items()}
    events = [
        in_ledger(replace(example_envelope(by_type[kind]), id=derive_id("refund", at)), position=at)
        for at, kind in enumerate(kinds, start=1)
    ]
    path = tmp_path / "refund.sqlite"
    export_ocel(query_of(events), path)
    with closing(sqlite3.connect(path)) as tables:
        invoice = INVOICE_ID
        assert changes_of(tables, "invoice", invoice, "paid_minor") == [525_100, 525_000, 524_900]
        assert changes_of(tables, "invoice", invoice, "status") == ["issued", "paid", "partly_paid", "void"]


def test_a_message_that_came_after_its_answer_is_its_cause_all_the_same(tmp_path):
    asked, started = (each for _, each in PLACED[:2])
    path = tmp_path / "later.sqlite"
    export_ocel(query_of([in_ledger(started, 1), in_ledger(asked, 2)]), path)
    with closing(sqlite3.connect(path)) as tables:
        rows = tables.execute("SELECT ocel_object_id FROM event_object WHERE ocel_qualifier = 'caused by'").fetchall()
        assert rows == [(f"message:{asked.id}",)]


def test_a_log_with_a_key_that_leads_nowhere_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("chatledger.history.ocel._Log._make_event_type", lambda log, name, event: None)
    monkeypatch.setattr(
        "chatledger.history.ocel._Log.add", lambda log, event: log._put("INSERT INTO event VALUES (?, ?)", "e", "none")
    )
    with pytest.raises(InvariantViolated, match="leads nowhere"):
        export_ocel(query_of([in_ledger(PLACED[0][1])]), tmp_path / "log.sqlite")
    assert list(tmp_path.iterdir()) == []


def changes_of(tables: sqlite3.Connection, kind: str, id: str, name: str) -> list[Any]:
    rows = tables.execute(
        f"SELECT {name} FROM object_{kind} WHERE ocel_id = ? AND ocel_changed_field = ? ORDER BY rowid",
        (f"{kind}:{id}", name),
    )
    return [value for (value,) in rows]
