"""What `verify` finds: one finding for each invariant, and the report of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one invariant stands: how many things were checked, how many break it, and the first of these as sentences.

    `note` says what was not looked at, and why.
    """

    name: str
    title: str
    checked: int
    violations: int
    examples: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """So many records of one service could not be processed, for one reason. No violation, but to be looked at."""

    service: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that `verify` found."""

    events: int
    state_hash: str
    findings: tuple[Finding, ...]
    dead_letters: tuple[DeadLetters, ...]

    @property
    def violations(self) -> int:
        """How many violations there are in all."""
        return sum(finding.violations for finding in self.findings)


def finding_of(name: str, title: str, *, checked: int, complaints: Sequence[str], note: str | None = None) -> Finding:
    """Return the finding for these complaints, one for each violation."""
    return Finding(
        name=name,
        title=title,
        checked=checked,
        violations=len(complaints),
        examples=tuple(complaints[:EXAMPLES_MAX]),
        note=note,
    )


def joined(name: str, title: str, parts: Sequence[Finding]) -> Finding:
    """Return one finding for the parts of an invariant; what is checked is counted once, by the largest part."""
    return Finding(
        name=name,
        title=title,
        checked=max(part.checked for part in parts),
        violations=sum(part.violations for part in parts),
        examples=tuple(example for part in parts for example in part.examples)[:EXAMPLES_MAX],
        note="; ".join(part.note for part in parts if part.note) or None,
    )
