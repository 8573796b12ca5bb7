"""Records as past versions wrote them decode for ever, one golden file per event type and version."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chatledger.events import EVENTS, Event
from chatledger.events.codec import encode_data, from_wire, to_wire
from tests.unit.event_examples import EXAMPLES, GOLDEN, example_envelope, golden_text

FILES = sorted(GOLDEN.glob("*.json"))
CLASSES = {event_class.type: event_class for event_class in EVENTS}


def test_every_event_type_and_version_has_a_golden_record() -> None:
    wanted = {f"{each.type}.v{version}.json" for each in EVENTS for version in range(1, each.version + 1)}
    assert wanted == {path.name for path in FILES}, "run python -m tests.unit.event_examples"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_record_decodes_into_todays_class(path: Path) -> None:
    record = orjson.loads(path.read_bytes())
    headers = [(name, value.encode()) for name, value in record["headers"].items()]
    envelope = from_wire(headers, orjson.dumps(record["value"]))
    assert type(envelope.data) is CLASSES[record["headers"]["ce_type"]]
    assert envelope.conversation == record["key"]
    if path.stem.endswith(f".v{envelope.data.version}"):
        assert orjson.loads(encode_data(envelope.data)) == record["value"]


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda each: each.type)
def test_what_is_written_today_is_what_the_golden_record_says(event_class: type[Event]) -> None:
    path = GOLDEN / f"{event_class.type}.v{event_class.version}.json"
    assert golden_text(to_wire(example_envelope(EXAMPLES[event_class]))) == path.read_bytes()
