"""The tables of history from Python: what is selected, what is in them, and what reading may not do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

import chatledger.history
from chatledger import topics
from chatledger.conversation import encode_state
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.events.letters import RecordDeadLettered
from chatledger.history import History
from chatledger.replay import fold
from tests.support.exported import both_flows, record, recorded_on
from tests.support.ledger import conversation_of
from tests.support.ledger import history as order_form_history
from tests.unit.event_examples import example_envelope

pytestmark = pytest.mark.postgres

PLACED = both_flows()
ENVELOPES = [envelope for _, envelope in PLACED]
STORE = "store/twilio/+919900000001"
YESTERDAY, TODAY = (datetime(2026, 11, day, 23, 59, 59, 999_999, tzinfo=UTC) for day in (20, 21))
CUT = len(order_form_history("77"))


@pytest.fixture
def ledger(postgres_url: str) -> str:
    """Both flows; the first client's history was recorded yesterday."""
    record(postgres_url, PLACED)
    recorded_on(postgres_url, [(YESTERDAY, CUT), (TODAY, len(PLACED))])
    return postgres_url


@pytest.fixture
def history(ledger: str) -> Iterator[History]:
    with chatledger.history.open(ledger) as opened:
        yield opened


def sql(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_events_come_back_as_they_were(history):
    events = history.events()
    assert [event.envelope for event in events] == ENVELOPES
    assert [event.envelope for event in events] == ENVELOPES, "a query is read anew each time"
    assert [event.position for event in events] == list(range(1, len(PLACED) + 1))


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({"types": ["order.placed"]}, lambda event: event.data.type == "order.placed"),
        ({"types": "message.received"}, lambda event: event.data.type == "message.received"),
        ({"types": ["order.*"]}, lambda event: event.data.type.startswith("order.")),
        ({"project": "store"}, lambda event: event.conversation.startswith("store/")),
        ({"stream": f"conversation-{STORE}"}, lambda event: event.stream == f"conversation-{STORE}"),
        ({"since": TODAY}, lambda event: event in ENVELOPES[CUT:]),
        ({"until": YESTERDAY}, lambda event: event in ENVELOPES[:CUT]),
        ({"since": "2026-11-21"}, lambda event: event in ENVELOPES[CUT:]),
        ({"until": "2026-11-21T01:59:59.999999+02:00"}, lambda event: event in ENVELOPES[:CUT]),
        ({"after": CUT}, lambda event: event in ENVELOPES[CUT:]),
        ({"until_position": CUT}, lambda event: event in ENVELOPES[:CUT]),
        ({"since": TODAY + timedelta(microseconds=1)}, lambda event: False),
    ],
)
def test_a_selection_holds_what_it_says(history, wanted, holds):
    selected = history.events(**wanted)
    expected = [envelope for envelope in ENVELOPES if holds(envelope)]
    assert [event.envelope for event in selected] == expected
    assert [row.id for row in selected.rows()] == [envelope.id for envelope in expected]


def test_a_time_without_an_offset_is_refused(history):
    with pytest.raises(ValueError, match=r"has no offset: write 2026-11-21T10:00:00Z"):
        history.events(since="2026-11-21T10:00:00")


def test_the_rows_are_those_of_the_ledger(history, ledger):
    told = sql(
        ledger,
        "SELECT position, recorded_at, occurred_at, id::text, type, stream, version, metadata ->> 'conversation',"
        " metadata ->> 'correlationid', metadata ->> 'causationid', metadata ->> 'source',"
        " (metadata ->> 'schemaversion')::int, topic, partition, source_offset, data"
        " FROM ledger.events ORDER BY position",
    )
    parts = ("project", "channel", "client_id")
    rows = [row._asdict() for row in history.events().rows()]
    assert [
        (*(value for name, value in row.items() if name not in (*parts, "data")), orjson.loads(row["data"]))
        for row in rows
    ] == told
    of_clients = [row for row in rows if row["client_id"] is not None]
    assert all("/".join(row[name] for name in parts) == row["conversation"] for row in of_clients)
    (created,) = (row for row in rows if row["client_id"] is None)
    assert (created["type"], created["project"], created["channel"]) == ("campaign.created", "store", None)


def test_data_of_an_older_version_is_lifted_and_of_an_unknown_event_kept(postgres_url):
    record(postgres_url, [(topics.DIALOG, example_envelope(ENVELOPES[1].data))])
    with psycopg.connect(postgres_url) as connection:
        connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER events_append_only")
        for number, (kind, version, data) in enumerate(
            [("order.cancelled", 1, '{"reason": "client"}'), ("order.cancelled", 9, '{"x": 1}'), ("odd", 1, '{"y": 2}')]
        ):
            connection.execute(
                "INSERT INTO ledger.events"
                " (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset)"
                " SELECT gen_random_uuid(), stream || %s, version, %s, %s,"
                " jsonb_set(metadata, '{schemaversion}', %s), occurred_at, topic, partition, source_offset"
                " FROM ledger.events WHERE position = 1",
                (f"{number}", kind, data, f"{version}"),
            )
    with chatledger.history.open(postgres_url) as opened:
        rows = list(opened.events(after=1).rows())
        assert [(row.type, row.schema_version) for row in rows] == [
            ("order.cancelled", 2),
            ("order.cancelled", 9),
            ("odd", 1),
        ]
        assert orjson.loads(rows[0].data) == {"reason": "client", "order_id": None}
        assert [orjson.loads(row.data) for row in rows[1:]] == [{"x": 1}, {"y": 2}]
        assert [type(event.envelope.data).__name__ for event in opened.events(after=2)] == ["UnknownEvent"] * 2


def test_conversations_are_those_of_the_fold(history):
    states = fold(ENVELOPES)
    rows = {row.conversation: row for row in history.conversations()}
    assert {name: row.state.encode() for name, row in rows.items()} == {
        name: encode_state(state) for name, state in states.items()
    }
    row = rows[conversation_of("77")]
    assert (row.project, row.channel, row.client_id) == ("order-form", "chat2desk", "77")
    assert (row.status, row.phone, row.quantity, row.opted_out) == ("COMPLETED", "+919876543210", 3, False)
    assert (row.messages_received, row.messages_requested, row.orders_placed, row.sessions) == (5, 5, 1, 1)
    last = max(at for at, each in enumerate(ENVELOPES, 1) if each.stream == f"conversation-{conversation_of('77')}")
    assert (row.first_recorded_at, row.last_recorded_at, row.last_position) == (YESTERDAY, YESTERDAY, last)
    assert list(rows) == [conversation_of("77"), conversation_of("78"), STORE], "in the order in which they began"


def test_conversations_as_they_were_known(history):
    at_first = list(history.conversations(at=YESTERDAY))
    assert [row.conversation for row in at_first] == [conversation_of("77")]
    (row,) = history.conversations(position=3)
    assert row.state.encode() == encode_state(fold(ENVELOPES[:3])[conversation_of("77")])
    assert [row.project for row in history.conversations(project="store")] == ["store"]
    assert [row.conversation for row in history.conversations(since=TODAY)] == [conversation_of("78"), STORE]


def test_a_state_is_that_of_the_fold(history):
    assert history.state(STORE) == fold(ENVELOPES)[STORE]
    assert history.state(conversation_of("77"), position=3) == fold(ENVELOPES[:3])[conversation_of("77")]
    assert history.state(conversation_of("78"), at=YESTERDAY) == history.state("no/such/one")


def test_messages_tell_what_became_of_them(history):
    rows = [row for row in history.messages(project="store") if row.text != "1"]
    told = [(row.direction, row.text, row.status, row.reason, row.led_to) for row in rows]
    assert told == [
        ("in", "hello", "received", None, "reply.requested"),
        ("out", "Hello", "read", None, None),
        ("in", "are you there?", "received", None, "reply.requested"),
        ("out", "Hello", "undelivered", "63016", None),
        ("in", "and now?", "received", None, "reply.requested"),
        ("out", "It waits.", "requested", None, None),
    ]
    read = rows[1]
    assert read.attempts == 1
    assert read.provider_message_id == "SM1"
    assert None not in (read.sent_at, read.delivered_at, read.read_at)
    assert rows[3].undelivered_at is not None
    assert rows[0].led_to_at is not None
    everything = list(history.messages())
    kinds = ("message.received", "reply.requested")
    assert [row.id for row in everything] == [each.id for each in ENVELOPES if each.data.type in kinds]


def test_messages_know_no_more_than_was_known_then(history):
    first = next(row for row in history.messages(until_position=1))
    assert (first.status, first.led_to) == ("received", None)
    requested = next(row for row in history.messages(until_position=3) if row.direction == "out")
    assert (requested.status, requested.sent_at) == ("requested", None)


def test_a_message_that_was_answered_late_is_answered(ledger, monkeypatch):
    monkeypatch.setattr("chatledger.history.messages.POSITIONS_PER_READ", 0)
    with chatledger.history.open(ledger) as opened:
        received = [row for row in opened.messages() if row.direction == "in"]
        assert all(row.led_to for row in received)


def test_a_message_that_became_a_dead_letter_says_so(postgres_url):
    asked = next(each for each in ENVELOPES if each.data.type == "reply.requested")
    letter = RecordDeadLettered(
        service="notify",
        reason="no such channel",
        topic=topics.DIALOG,
        partition=0,
        offset=0,
        key=asked.conversation,
        headers={"ce_id": asked.id},
        value_base64="",
    )
    dead = example_envelope(letter)
    record(postgres_url, [(topics.DIALOG, asked), (topics.DEAD, dead)])
    with chatledger.history.open(postgres_url) as opened:
        (row,) = opened.messages()
        assert (row.status, row.reason) == ("dead", "no such channel")


def test_tables_are_the_same_in_arrow_pandas_and_polars(history):
    for query in (history.events(), history.conversations(), history.messages()):
        rows = [row._asdict() for row in query.rows()]
        table = query.to_arrow()
        assert table.to_pylist() == rows
        assert tuple(table.column_names) == query.columns
        assert query.to_polars().to_dicts() == rows
        assert len(query.to_pandas()) == len(rows)
        for field in table.schema:
            if str(field.type).startswith("timestamp"):
                assert str(field.type) == "timestamp[us, tz=UTC]"
    assert str(history.events().to_arrow().schema.field("position").type) == "int64"
    assert str(history.events().to_pandas().dtypes["recorded_at"]) == "datetime64[us, UTC]"


def test_batches_are_bounded_and_make_up_the_whole(history):
    batches = list(history.events().batches(rows_max=7))
    assert {batch.num_rows for batch in batches[:-1]} == {7}
    assert sum(batch.num_rows for batch in batches) == len(PLACED)
    assert list(history.events(types=["no.such"]).batches()) == []
    assert history.events(types=["no.such"]).to_polars().shape == (0, 19)


def test_reading_cannot_write(ledger):
    with chatledger.history.open(ledger) as opened:
        connection = opened._connection._connection
        assert connection.execute("SELECT current_user").fetchone() == ("chatledger_reader",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("RESET ROLE; DELETE FROM ledger.positions")


def test_which_ledger_is_said_or_asked_for(ledger, postgres_server, monkeypatch):
    for name in ("CHATLEDGER_DATABASE", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="CHATLEDGER_DATABASE"):
        chatledger.history.open()
    with pytest.raises(ConfigurationError, match="no Postgres URL"):
        chatledger.history.open("not a url")
    with pytest.raises(OutsideUnavailable, match="does not answer"):
        chatledger.history.open("postgresql://127.0.0.1:1/none")
    with pytest.raises(ConfigurationError, match="ledger"):
        chatledger.history.open(postgres_server.url)
    monkeypatch.setenv("CHATLEDGER_DATABASE", ledger)
    with chatledger.history.open() as opened:
        assert opened.last_position() == len(PLACED)


def test_a_database_that_goes_away_is_an_error_of_ours(ledger):
    with chatledger.history.open(ledger) as opened:
        with psycopg.connect(ledger, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(OutsideUnavailable, match="went away"):
            opened.last_position()
