"""Planted violations for the tests of `verify`: what changes a right history into a wrong one, and the report on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chatledger.events import Envelope
from chatledger_ledger.findings import Finding, Report
from chatledger_ledger.verification import verify
from tests.support.ledger import Placed, as_records, open_ledger

Plant = Callable[[Placed], Placed]


async def report_on(url: str, placed: Placed, **options: Any) -> Report:
    """Record a history in an empty database, and verify it."""
    async with open_ledger(url) as ledger:
        await ledger.append(as_records(placed))
    return await verify(url, **options)


def of(report: Report, name: str) -> Finding:
    """The finding about one invariant."""
    (found,) = [finding for finding in report.findings if finding.name == name]
    return found


def require_complaint(report: Report, name: str, complaint: str) -> None:
    """Fail unless this invariant is broken, and one of its examples says so."""
    found = of(report, name)
    assert found.violations > 0
    assert any(complaint in example for example in found.examples), found.examples
    assert report.violations >= found.violations


def changed(type_: type, *, which: int = 0, **fields: Any) -> Plant:
    """Change the data of one event; a field's value may be a function of the old one."""

    def plant(placed: Placed) -> Placed:
        at = [index for index, (_, each) in enumerate(placed) if isinstance(each.data, type_)][which]
        topic, envelope = placed[at]
        new = {
            name: value(getattr(envelope.data, name)) if callable(value) else value for name, value in fields.items()
        }
        return [*placed[:at], (topic, replace(envelope, data=replace(envelope.data, **new))), *placed[at + 1 :]]

    return plant


def without(is_lost: Callable[[Envelope], bool]) -> Plant:
    """Lose some events."""
    return lambda placed: [(topic, each) for topic, each in placed if not is_lost(each)]


def is_a(*types: type) -> Callable[[Envelope], bool]:
    """Tells events of these classes."""
    return lambda envelope: isinstance(envelope.data, types)
