"""The report as text: what an operator reads first, with the examples as a diff. Colours only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from chatledger_cli.moments import shown

TURNS_SHOWN_MAX = 5
"""Inputs of one conversation in the text; JSON and page have more of them."""
VALUE_LENGTH_MAX = 400
"""Characters of a value in the text."""
STYLES = {"-": "red", "+": "green", "!": "bold magenta", "=": "bold", "?": "yellow"}
Report = Mapping[str, Any]


def print_report(report: Report, console: Console) -> None:
    """Print it."""
    for style, line in _lines(report):
        console.print(Text(line, style=STYLES.get(style, "")))


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    """Yield each line and the sign that says how it looks."""
    totals, compared_with = report["totals"], report["compared_with"]
    yield "=", f"{_differing(totals)}"
    for each in compared_with["modules"]:
        yield "", f"  changed: {each['module']} from {each['file']}"
    for name in compared_with["changed_projects"]:
        yield "", f"  changed: project {name}"
    for each in report["kinds"]:
        yield "", f"  {each['count']:>9,}  {each['kind']}: {each['type']}"
    for line in notes(report):
        yield "?", f"  {line}"
    examples = [each for each in report["conversations"] if "turns" in each]
    for each in examples:
        yield "", ""
        yield from _conversation(each)
    left_out = totals["conversations_differ"] - len(examples)
    if left_out:
        yield "", ""
        yield "?", f"{left_out:,} more conversations differ: --examples N shows more of them, --html all in one page"
    if report["differs"] and report["masked"]:
        yield "?", "personal data is masked: --show-personal shows it"


def notes(report: Report) -> Iterator[str]:
    """Yield a sentence for each thing that was not compared."""
    totals = report["totals"]
    if totals["decisions_failed"]:
        yield f"about {_count(totals['decisions_failed'], 'input')} the flow code failed to decide"
    if totals["not_decided"]:
        yield f"{_count(totals['not_decided'], 'input')} not decided in the record: a dead letter, or after its end"
    if totals["without_input"]:
        yield f"{_count(totals['without_input'], 'decision')} not compared: the input is not in the record"
    if totals["incomplete_conversations"]:
        yield f"{_count(totals['incomplete_conversations'], 'conversation')} not compared: events are missing"
    if totals["conversations_without_project"]:
        missing = ", ".join(report["projects_missing"])
        count = _count(totals["conversations_without_project"], "conversation")
        yield f"{count} not compared: there is no project file of {missing}"
    if totals["unreadable"]:
        yield f"{_count(totals['unreadable'], 'line')} of the history not readable"


def _differing(totals: Report) -> str:
    conversations, decisions = totals["conversations"], totals["decisions"]
    compared = f"{_count(decisions, 'decision')} of {_count(conversations, 'conversation')} compared"
    if not totals["decisions_differ"]:
        return f"nothing differs: {compared}"
    differ = f"{totals['decisions_differ']:,} of {_count(decisions, 'decision')} differ"
    return f"{differ}, in {totals['conversations_differ']:,} of {_count(conversations, 'conversation')}"


def _conversation(each: Report) -> Iterator[tuple[str, str]]:
    first = each["first"]
    yield "=", f"{each['conversation']}: {each['differing']:,} of {_count(each['decisions'], 'decision')} differ"
    yield "", f"  first at position {first['position']}, {shown(datetime.fromisoformat(first['time']))}"
    differing = [turn for turn in each["turns"] if turn["differs"]]
    for turn in differing[:TURNS_SHOWN_MAX]:
        yield from _turn(turn)
    if each["differing"] > TURNS_SHOWN_MAX:
        yield "?", f"  and {each['differing'] - min(len(differing), TURNS_SHOWN_MAX):,} more"


def _turn(turn: Report) -> Iterator[tuple[str, str]]:
    said = turn["input"]["data"].get("text")
    yield "", f"  position {turn['position']}: {turn['type']}" + (f" {said!r}" if said is not None else "")
    failure = turn.get("failure")
    if failure is not None:
        yield "!", f"    the flow failed: {failure['error']} at {failure['place']}"
        if failure["text"]:
            yield "!", f"      {_shortened(failure['text'])}"
        return
    for change in turn["changes"]:
        if change["recorded_place"] is None:
            yield "+", f"    + {change['type']} {_value(turn['decided'][change['decided_place']]['data'])}"
        elif change["decided_place"] is None:
            yield "-", f"    - {change['type']} {_value(turn['recorded'][change['recorded_place']]['data'])}"
        else:
            for field in change["fields"]:
                yield "-", f"    - {change['type']} {field['path']}: {_value(field['recorded'])}"
                yield "+", f"    + {change['type']} {field['path']}: {_value(field['decided'])}"


def _value(value: Any) -> str:
    return _shortened(orjson.dumps(value, default=str).decode())


def _shortened(text: str) -> str:
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
