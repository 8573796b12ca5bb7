"""No byte of an anonymised file tells of a client, whatever the format; the tables can be joined all the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import chatledger.history
from chatledger import topics
from chatledger.events import dialog
from chatledger.events.ids import derive_id
from chatledger.history import History
from chatledger.history.exports import Format, export_ocel, export_rows
from chatledger.ports import ConsumedRecord
from tests.support.exported import record_raw
from tests.support.ledger import as_records
from tests.support.postgres import fresh_database
from tests.unit.event_examples import EXAMPLES, example_envelope
from tests.unit.test_anonymised import CLIENT, CONVERSATION, NEEDLES, SECRET, planted, planted_envelopes

pytestmark = pytest.mark.postgres

STRANGE = ConsumedRecord(
    topic=topics.INBOUND,
    partition=0,
    offset=900,
    key=CONVERSATION.encode(),
    value=SECRET.encode(),
    headers=(("ce_type", SECRET.encode()), ("ce_subject", CONVERSATION.encode())),
)
"""Not an event at all: it is recorded as the dead letter that it is, with everything that is in it."""
KEY = b"a key of the tests"


@pytest.fixture(scope="module")
def ledger(postgres_server) -> Iterator[str]:
    """Every event class with a client's data wherever they can be, and a conversation that goes on."""
    with fresh_database(postgres_server) as url:
        envelopes = planted_envelopes()
        asked = envelopes[0]
        reply = planted(EXAMPLES[dialog.ReplyRequested])
        began = [
            replace(asked, id=derive_id("began"), data=EXAMPLES[dialog.ConversationStarted], stream_version=1000),
            replace(asked, id=derive_id("phone"), data=planted(EXAMPLES[dialog.PhoneGiven]), stream_version=1001),
            replace(asked, id=derive_id("reply"), data=reply, stream_version=1002),
        ]
        own_stream = f"conversation-{CONVERSATION}"
        began = [replace(each, stream=own_stream, conversation=CONVERSATION) for each in began]
        sent = planted(EXAMPLES[next(kind for kind in EXAMPLES if kind.type == "message.failed")])
        delivery = replace(
            example_envelope(sent),
            conversation=CONVERSATION,
            stream=f"delivery-{derive_id('reply')}",
            id=derive_id("failed"),
        )
        placed = [(topics.DIALOG, each) for each in (*envelopes, *began)] + [(topics.NOTIFY, delivery)]
        record_raw(url, [*as_records(placed), STRANGE])
        yield url


@pytest.fixture
def history(ledger: str) -> Iterator[History]:
    with chatledger.history.open(ledger, anonymise_key=KEY) as opened:
        yield opened


def tables(history: History, *, anonymise: bool) -> dict[str, Any]:
    return {
        "events": history.events(anonymise=anonymise),
        "conversations": history.conversations(anonymise=anonymise),
        "messages": history.messages(anonymise=anonymise),
    }


def everything_in(path: Path) -> bytes:
    """Every byte of a file or folder; of compressed ones also what is in them."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    read = b"".join(file.read_bytes() + file.name.encode() for file in files)
    for file in files:
        if file.suffix == ".parquet":
            read += repr(pl.read_parquet(file).to_dicts()).encode()
        if file.suffix == ".sqlite":
            with closing(sqlite3.connect(file)) as log:
                read += "\n".join(log.iterdump()).encode()
    return read


@pytest.mark.parametrize("format", [Format.NDJSON, Format.CSV, Format.PARQUET])
@pytest.mark.parametrize("name", ["events", "conversations", "messages"])
def test_no_byte_of_a_table_tells_of_a_client(history, tmp_path, name, format):
    plain, anonymous = tmp_path / "plain", tmp_path / "anonymous"
    export_rows(tables(history, anonymise=False)[name], format, plain)
    done = export_rows(tables(history, anonymise=True)[name], format, anonymous)
    assert done.rows > 0
    assert found(plain), "nothing was planted here"
    assert not found(anonymous)


def test_no_byte_of_an_event_log_tells_of_a_client(history, tmp_path):
    plain, anonymous = tmp_path / "plain.sqlite", tmp_path / "anonymous.sqlite"
    export_ocel(history.events(), plain)
    export_ocel(history.events(anonymise=True), anonymous)
    assert found(plain) == list(NEEDLES)
    assert not found(anonymous)


def test_no_id_of_the_ledger_remains(history, tmp_path):
    ids = {value for event in history.events() for value in (event.envelope.id, event.envelope.correlation_id)}
    for kind in (Format.NDJSON, Format.CSV, Format.PARQUET):
        export_rows(history.events(anonymise=True), kind, tmp_path / kind)
        read = everything_in(tmp_path / kind).decode("utf-8", "replace")
        assert not [each for each in ids if each in read]


def test_the_tables_can_be_joined(history):
    events, conversations, messages = (query.to_polars() for query in tables(history, anonymise=True).values())
    assert set(messages["conversation"]) <= set(events["conversation"])
    assert set(conversations["conversation"]) <= set(events["conversation"])
    assert set(messages["id"]) <= set(events["id"])
    (failed,) = messages.filter(pl.col("status") == "failed").to_dicts()
    requested = events.filter(pl.col("id") == failed["id"]).to_dicts()[0]
    assert requested["client_id"] == failed["client_id"]
    (conversation,) = conversations.filter(pl.col("client_id") == failed["client_id"]).to_dicts()
    assert conversation["phone"] == conversation["client_id"], "a phone number is one pseudonym, wherever it stands"


def test_the_same_key_gives_the_same_pseudonyms_and_no_key_new_ones(ledger, history):
    with chatledger.history.open(ledger, anonymise_key=KEY) as again:
        assert list(again.events(anonymise=True).rows()) == list(history.events(anonymise=True).rows())
    with chatledger.history.open(ledger) as without:
        ours = {row.client_id for row in history.events(anonymise=True).rows() if row.client_id}
        theirs = {row.client_id for row in without.events(anonymise=True).rows() if row.client_id}
        assert ours.isdisjoint(theirs)
        assert CLIENT not in ours | theirs


def found(path: Path) -> list[str]:
    read = everything_in(path)
    return [needle for needle in NEEDLES if needle.encode() in read]
