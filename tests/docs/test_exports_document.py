"""docs/exports.md lists the columns, formats and objects that there are, with their types."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from chatledger.history.exports import Format
from chatledger.history.ocel_facts import LEDGER_COLUMNS, OBJECT_TYPES
from chatledger.history.rows import ConversationRow, EventRow, MessageRow, column_types
from tests.tidy.tree import ROOT

TEXT = (ROOT / "docs" / "exports.md").read_text()
KINDS = {int: "int64", str: "string", bool: "bool", datetime: "timestamp"}
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<second>[^|]+?) \| (?P<third>[^|]+?) \|$", flags=re.MULTILINE)


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "row_class"), [("Events", EventRow), ("Conversations", ConversationRow), ("Messages", MessageRow)]
)
def test_every_column_is_listed_with_its_type(title, row_class):
    listed = {found["name"]: found["second"] for found in ROW.finditer(section(title))}
    assert list(listed.items()) == [
        (name, KINDS[kind] + (" or null" if optional else ""))
        for name, (kind, optional) in column_types(row_class).items()
    ]


def test_every_format_is_listed():
    assert set(re.findall(r"^\| `(\w+)` \|", section("Formats"), flags=re.MULTILINE)) == set(Format)


def test_every_object_is_listed_with_its_attributes():
    listed = {found["name"]: re.findall(r"`(\w+)`", found["third"]) for found in ROW.finditer(section("Event log"))}
    assert listed == {kind: list(columns) for kind, columns in OBJECT_TYPES.items()}
    assert all(f"`{name}`" in section("Event log") for name in LEDGER_COLUMNS)
