"""Histories for what-if: as lines of the ledger, in any order in which topics may be recorded, and compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chatledger.events import Envelope
from chatledger.inventory import LiveProjects
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.replay import event_line
from chatledger.what_if import Compared, Comparison, LeftOut, Tally
from tests.support.ledger import Placed
from tests.unit.projects_at_hand import EXAMPLE, STORE

PROJECTS = {EXAMPLE.name: EXAMPLE, STORE.name: STORE}
RECORDED_AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
FLOWS = Path(__file__).resolve().parents[2] / "src" / "chatledger" / "flows"


def as_ledger(placed: Iterable[tuple[str, Envelope]], *, partition: int = 0) -> list[LedgerEvent]:
    """The events as the ledger tells them, recorded a second after one another."""
    return [
        LedgerEvent(
            position=position,
            recorded_at=RECORDED_AT + timedelta(seconds=position),
            topic=topic,
            partition=partition,
            source_offset=position,
            envelope=envelope,
        )
        for position, (topic, envelope) in enumerate(placed, start=1)
    ]


def write_history(path: Path, placed: Placed) -> Path:
    """Write them as `chatledger replay` does."""
    path.write_bytes(b"".join(event_line(event) + b"\n" for event in as_ledger(placed)))
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a comparison came to."""

    compared: Sequence[Compared]
    left_out: LeftOut
    tally: Tally

    @property
    def differing(self) -> list[Compared]:
        """Those that differ."""
        return [each for each in self.compared if each.differs]


def compare(events: Iterable[LedgerEvent], projects: Mapping[str, Project] = PROJECTS, **how: Any) -> Outcome:
    """Compare a whole history."""
    comparison, tally = Comparison(LiveProjects(projects, remembered=None), **how), Tally()
    compared = [each for event in events for each in comparison.take(event)] + [*comparison.end()]
    for each in compared:
        tally.note(each)
    return Outcome(compared=compared, left_out=comparison.left_out, tally=tally)


def changed_copy(folder: Path, module: str, old: str, new: str) -> Path:
    """A copy of a module of chatledger.flows with one text replaced."""
    text = (FLOWS / f"{module}.py").read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {module}.py"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}.py"
    path.write_text(text.replace(old, new))
    return path
