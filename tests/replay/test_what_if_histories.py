"""Recorded histories, decided once more by today's flows with the example projects, must not come to other decisions.

Where a change is meant to, it says so: `histories/<name>.diverges.txt` holds a sentence why, an empty line, and all
that is decided otherwise. `python -m tests.replay.test_what_if_histories NAME "Why."` writes it; histories/README.md
has more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from chatledger.events.codec import encode_data
from chatledger.replay import read_event_line
from chatledger.what_if import Kind
from tests.replay.test_recorded_histories import HISTORIES, NAMES
from tests.support.what_if import Outcome, compare

SENTENCE_LENGTH_MIN = 20
"""Shorter ones give no reason."""


def outcome_of(name: str) -> Outcome:
    """Compare one recorded history."""
    lines = (HISTORIES / f"{name}.ndjson").read_bytes().splitlines()
    return compare(read_event_line(line) for line in lines)


def divergences(outcome: Outcome) -> list[str]:
    """Lines for each event that differs: the position of the input, what differs, and what would be decided now."""
    found = []
    for compared in outcome.differing:
        for change in compared.changes:
            what = f"{compared.cause.position} {change.kind}: {change.type}"
            if change.kind is Kind.ADDED:
                what += f" {encode_data(compared.decided[change.decided_place or 0]).decode()}"
            found.append(what)
            found += [f"    {field.path}: {orjson.dumps(field.decided).decode()}" for field in change.fields]
    return found


def expected(path: Path) -> list[str]:
    """What a history is allowed to differ in; nothing without a file. Fails where no reason is given."""
    if not path.exists():
        return []
    why, separator, lines = path.read_text("utf-8").partition("\n\n")
    has_reason = bool(separator) and len(why) >= SENTENCE_LENGTH_MIN
    assert has_reason, f"{path.name} begins with a sentence that says why, then an empty line"
    return lines.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_of_the_past_comes_to_the_same_decisions_or_the_change_says_why_not(name):
    outcome = outcome_of(name)
    assert outcome.tally.decisions > 0
    assert outcome.left_out.not_decided == outcome.left_out.without_input == 0
    assert divergences(outcome) == expected(HISTORIES / f"{name}.diverges.txt")


def test_each_file_of_divergences_is_about_a_history():
    assert {path.name.removesuffix(".diverges.txt") for path in HISTORIES.glob("*.diverges.txt")} <= {*NAMES}


def test_a_file_without_a_reason_is_refused(tmp_path):
    path = tmp_path / "an-order.diverges.txt"
    path.write_text("3 event added: cart.kept\n")
    with pytest.raises(AssertionError, match="says why"):
        expected(path)
    path.write_text("Carts are kept now, on purpose.\n\n3 event added: cart.kept\n")
    assert expected(path) == ["3 event added: cart.kept"]
    assert expected(tmp_path / "nothing.diverges.txt") == []


if __name__ == "__main__":
    history, reason = sys.argv[1:]
    differing = divergences(outcome_of(history))
    (HISTORIES / f"{history}.diverges.txt").write_text("\n".join([reason, "", *differing]) + "\n", encoding="utf-8")
