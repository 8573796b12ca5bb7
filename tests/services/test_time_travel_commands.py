"""`chatledger state` and `chatledger diff` as an analyst types them, over a ledger in Postgres."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import typer
from typer.testing import CliRunner

from chatledger.conversation import encode_state
from chatledger.errors import ConfigurationError
from chatledger.events.ids import order_number
from chatledger.replay import fold
from chatledger_billing.app import set_up_database
from chatledger_cli import diff_command, time_travel
from chatledger_cli.main import build
from tests.support.ledger import as_records, history, open_ledger
from tests.support.store_history import invoice_of
from tests.support.time_travel import store_client

pytestmark = pytest.mark.postgres
Run = Callable[..., Any]

CLIENT = "+919900000001"
MADE = store_client(CLIENT, ["paid", "voided"])
CONVERSATION = MADE.conversation
PAID, VOIDED = dict.fromkeys(each.stream[6:] for _, each in MADE.placed if each.stream.startswith("order-"))
PLACED = [*MADE.placed, *history("77")]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    for module in (time_travel, diff_command):
        module.register(app)
    for name in [name for name in os.environ if name.startswith("CHATLEDGER_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATLEDGER_DATA_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def ledger(run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger's URL."""

    async def record() -> None:
        async with open_ledger(postgres_url) as opened:
            await opened.append(as_records(PLACED))

    monkeypatch.setenv("CHATLEDGER_DATABASE", postgres_url)
    asyncio.run(record())
    return postgres_url


def said(run: Run, *words: str) -> str:
    done = run(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return str(done.stdout)


def as_json(run: Run, *words: str) -> Any:
    return orjson.loads(said(run, *words, "--json"))


def refusal(run: Run, *words: str) -> str:
    refused = run(*words)
    assert isinstance(refused.exception, ConfigurationError), refused.output
    return str(refused.exception)


def test_a_conversation_needs_no_kind(run, ledger):
    whole = encode_state(fold(each for _, each in PLACED)[CONVERSATION]) + b"\n"
    for words in ((CONVERSATION,), ("conversation", CONVERSATION), ("conversations", CONVERSATION)):
        assert said(run, "state", *words, "--json").encode() == whole
    text = said(run, "state", CONVERSATION)
    assert "status         COMPLETED" in text
    assert "last event     order.placed" in text
    assert f"position {len(MADE.placed)}" not in text
    own = [each for _, each in PLACED if each.stream == f"conversation-{CONVERSATION}"]
    assert f"events         {len(own)}\n" in text


def test_an_order_in_words_and_as_json(run, ledger):
    text = said(run, "state", "order", VOIDED)
    for fact in ("status      cancelled", "reason      changed", "line        100 bag Cement at 50.00 INR"):
        assert fact in text
    assert "events      3\nlast event  order.cancelled\nrecorded    20" in text
    row = as_json(run, "state", "order", PAID)
    assert (row["id"], row["status"], row["version"], row["conversation"]) == (PAID, "confirmed", 2, CONVERSATION)
    assert "position" not in row
    number = order_number(PAID)
    assert as_json(run, "state", "order", number) == row
    assert as_json(run, "state", "orders", number.lower().replace("-", "")) == row


def test_an_invoice_in_words_and_as_json(run, ledger):
    text = said(run, "state", "invoice", invoice_of(PAID))
    assert "status      paid" in text
    assert "payment     " in text
    assert "bank UTR-1" in text
    assert f"order       {order_number(PAID)}" in text
    assert "void by     CN-2026-000001: changed" in said(run, "state", "invoice", invoice_of(VOIDED))
    row = as_json(run, "state", "invoice", invoice_of(PAID))
    assert row["paid_minor"] == row["total_minor"]


def test_an_invoice_is_found_by_its_number_where_billing_has_it(run, ledger):
    assert "knows no invoice 'INV-2026-000001'" in refusal(run, "state", "invoice", "INV-2026-000001")
    asyncio.run(set_up_database(ledger))
    insert = (
        "INSERT INTO billing.invoices (id, number, project, order_id, conversation, status, version, lines, currency,"
        " total_minor, issued_on, due_on, client_id, subtotal_minor, updated_at, position)"
        " VALUES (%s, 'INV-2026-000001', %s, %s, '', '', 1, '[]', 'INR', 1, now(), now(), '', 1, now(), %s)"
    )
    with psycopg.connect(ledger, autocommit=True) as connection:
        connection.execute(insert, (invoice_of(PAID), "store", PAID, 1))
        assert as_json(run, "state", "invoice", "INV-2026-000001")["id"] == invoice_of(PAID)
        connection.execute(insert, (invoice_of(VOIDED), "other", VOIDED, 2))
    both = refusal(run, "state", "invoice", "INV-2026-000001")
    assert "several have the number INV-2026-000001" in both
    assert invoice_of(PAID) in both
    assert invoice_of(VOIDED) in both


def test_a_client_is_all_of_theirs(run, ledger):
    found = as_json(run, "state", "client", CLIENT)
    assert list(found) == ["conversations", "orders", "invoices"]
    assert list(found["conversations"]) == [CONVERSATION]
    assert set(found["orders"]) == {PAID, VOIDED}
    assert {each["status"] for each in found["invoices"].values()} == {"paid", "void"}
    assert as_json(run, "state", "client", f"store/{CLIENT}") == found
    text = said(run, "state", "client", CLIENT)
    assert f"conversation  {CONVERSATION} COMPLETED, last wrote 2026-03-02" in text
    assert f"order         {order_number(VOIDED)} cancelled" in text
    assert "invoice       INV-2026-000001 paid" in text


def test_before_its_beginning_it_is_said_when_that_was(run, ledger):
    for words in (("order", PAID), ("client", CLIENT), (CONVERSATION,)):
        before = run("state", *words, "--position", "0", "--json")
        assert before.exit_code == 0
        assert "nothing was known then: its first event was recorded at" in before.stderr
        state = orjson.loads(before.stdout)
        assert state is None or state["status"] == "INITIAL"
    assert as_json(run, "state", CONVERSATION, "--position", str(10**30)) == as_json(run, "state", CONVERSATION)
    assert "not there yet" in said(run, "state", "order", PAID, "--position", "0")


def test_what_is_not_there_is_answered_with_what_is(run, ledger):
    assert f"did you mean {CONVERSATION}" in refusal(run, "state", CONVERSATION[:-1])
    assert f"did you mean {CLIENT}" in refusal(run, "state", "client", CLIENT[:-2])
    assert f"did you mean {PAID}" in refusal(run, "state", "order", PAID[:8])
    assert f"`chatledger state invoice {invoice_of(PAID)}`" in refusal(run, "state", "order", invoice_of(PAID))
    assert "an order is named by its id or its number" in refusal(run, "state", "order", "zz")
    assert "the ledger knows no order '0000-0000'" in refusal(run, "state", "order", "0000-0000")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("invoice",), "which invoice?"),
        (("parcel", "7"), "a kind is one of conversation, order, invoice, client"),
        (("order", "7", "8"), "'order 7 8' is no [KIND] ID"),
    ],
)
def test_a_thing_that_cannot_be_meant_is_refused(run, words, complaint):
    for command in (("state",), ("diff", "--from", "@0")):
        assert complaint in refusal(run, *command, *words)


def test_a_difference_in_words(run, ledger):
    before = len(MADE.placed) - 2
    text = said(run, "diff", "order", VOIDED, "--from-position", str(before))
    assert f"order  {VOIDED}\nfrom   2 events, the last recorded 20" in text
    assert "\nstatus  confirmed -> cancelled\nreason  - -> changed\n" in text
    assert "version" not in text
    assert "because of order.confirmed at" in text
    assert "\nversion  2 -> 3" in said(run, "diff", "order", VOIDED, "--from", f"@{before}", "--all")
    assert "nothing changed" in said(run, "diff", "order", VOIDED, "--from", "-0s")
    assert "from   nothing was known" in said(run, "diff", "order", VOIDED, "--from", "@0", "--to", "-0s")


def test_a_difference_as_json(run, ledger):
    found = as_json(run, "diff", "invoice", invoice_of(PAID), "--from", "@0", "--to-position", "10")
    assert (found["before"], found["after"]["events"] > 0) == ({"events": 0, "last_event": None}, True)
    whole = as_json(run, "diff", "invoice", invoice_of(PAID), "--from", "@0")
    statuses = [each["type"] for each in whole["events"] if "status" in each["fields"]]
    assert statuses == ["invoice.issued", "payment.recorded", "payment.recorded"]
    assert {"field": "number", "before": None, "after": "INV-2026-000001"} in whole["changes"]
    assert all(each["cause"]["type"] for each in whole["events"])
    of_client = as_json(run, "diff", "client", CLIENT, "--from", "@0")
    assert [each["field"] for each in of_client["changes"]] == ["conversations", "orders", "invoices"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "from when on?"),
        (("--from", "@x"), "'@x' is not a position"),
        (("--from", "soonish"), "is not a time"),
        (("--from", "@1", "--from-position", "1"), "two ways to say one thing"),
        (("--from", "@2", "--to", "@1"), "--from lies after --to"),
        (("--from", "-1h", "--to", "-2h"), "--from lies after --to"),
    ],
)
def test_moments_that_cannot_be_meant_are_refused(run, words, complaint):
    assert complaint in refusal(run, "diff", "a/b/c", *words)


def test_a_difference_of_a_stranger_is_refused_with_suggestions(run, ledger):
    assert f"did you mean {CONVERSATION}" in refusal(run, "diff", CONVERSATION[:-1], "--from", "@0")


def test_the_commands_teach_by_example():
    for command in ("state", "diff"):
        shown = CliRunner().invoke(build([command]), [command, "--help"]).stdout
        assert f"Example: chatledger {command} order" in shown
        assert "[KIND] ID" in shown
