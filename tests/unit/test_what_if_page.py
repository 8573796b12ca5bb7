"""The page of what-if: one file that asks nobody for anything, and shows what clients wrote as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from chatledger.errors import ConfigurationError
from chatledger.events import dialog
from chatledger.flows import pipeline
from chatledger.what_if import report
from chatledger_cli.what_if.page import page, write_page
from tests.support.ledger import history
from tests.support.what_if import as_ledger, compare

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 &amp; {{ 7 * 7 }}"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def reported(texts: tuple[str, ...] = ("hi", HOSTILE), *, examples: int = 5, clients: int = 1) -> dict[str, Any]:
    """A report about a flow that answers nothing any more."""

    def silent(state, cause, project):
        return [each for each in pipeline.decide(state, cause, project) if not isinstance(each, dialog.ReplyRequested)]

    placed = [each for client in range(clients) for each in history(f"{client:06d}", texts)]
    outcome = compare(as_ledger(placed), decide=silent)
    turns: dict[str, list[Any]] = {name: [] for name in outcome.tally.examples(examples)}
    for each in outcome.compared:
        turns.get(each.cause.envelope.conversation, []).append(each)
    document = report(outcome.tally, outcome.left_out, turns, personal=True)
    document["totals"] |= {"events": len(placed), "seconds": 0.1, "unreadable": 0}
    compared_with = {"modules": [], "changed_projects": ["<b>"], "history": "the ledger", "follow": False}
    return document | {"compared_with": compared_with | {"since": None, "until": None}, "projects_missing": []}


def data_of(html: str) -> Any:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="conversations">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return orjson.loads(found[1])


def test_it_loads_nothing_and_may_not():
    html = page(reported(), now=NOW)
    assert "default-src 'none'" in html
    assert not re.search(
        r"""(src|href|action)\s*=|https?://|@import|url\(|fetch\(|XMLHttpRequest""", without_data(html)
    )


def test_what_clients_wrote_stays_text():
    html = page(reported(), now=NOW)
    assert "alert(" not in without_data(html)
    assert html.count("<script") == html.count("</script>") == 2
    assert [turn["input"]["data"]["text"] for turn in data_of(html)[0]["turns"]] == ["hi", HOSTILE]
    assert "&lt;b&gt;" in html
    assert "innerHTML" not in html


def test_it_has_the_figures_and_each_conversation():
    html = page(reported(clients=30, examples=2), now=NOW)
    assert "<h1>60 of 60 decisions would differ</h1>" in html
    assert "event removed: <code>reply.requested</code>" in html
    conversations = data_of(html)
    assert len(conversations) == 30
    assert sum("turns" in each for each in conversations) == 2


def test_without_a_difference_it_says_so():
    outcome = compare(as_ledger(history("77")))
    document = reported() | report(outcome.tally, outcome.left_out, {}, personal=False)
    document["totals"] |= {"events": 1, "seconds": 0.1, "unreadable": 0}
    html = page(document, now=NOW)
    assert "<h1>Nothing would differ</h1>" in html
    assert "personal data is masked" in html


def test_ten_thousand_conversations_are_a_page_of_some_megabytes():
    document = reported(("hi",))
    row = {name: value for name, value in document["conversations"][0].items() if name != "turns"}
    html = page(document | {"conversations": [row] * 10_000, "conversations_left_out": 5}, now=NOW)
    assert len(html) < 6_000_000
    assert "5 more conversations differ and are left out" in html


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_page(tmp_path / "missing" / "page.html", reported())


def without_data(html: str) -> str:
    """The page without what the script reads as data."""
    return re.sub(r'(<script type="application/json"[^>]*>).*?(</script>)', r"\1\2", html, flags=re.DOTALL)
