"""Which part of history a replay is of: the options as they were typed, and the selection that they mean.

Both are kept with the position of a replay that can go on later. `-7d` means another time then; so what it meant at the
first run holds, and another wording is another selection.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from chatledger.events.codec import parse_time
from chatledger.ports import Selection
from chatledger_cli.moments import read_moment

OPTIONS = {
    "since": "--since",
    "until": "--until",
    "after_position": "--after-position",
    "until_position": "--until-position",
    "stream": "--stream",
    "types": "--type",
    "project": "--project",
}
"""The name of each field on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The options that select, as they were typed."""

    since: str | None = None
    until: str | None = None
    after_position: int = 0
    until_position: int | None = None
    stream: str | None = None
    types: tuple[str, ...] = ()
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The options, and what they mean."""

    words: Words
    selection: Selection


def choose(words: Words, now: datetime) -> Chosen:
    """Return what the options mean at this moment. Raises ConfigurationError where a time is none."""
    return _chosen(
        words,
        since_time=None if words.since is None else read_moment(words.since, now),
        until_time=None if words.until is None else read_moment(words.until, now),
    )


def as_json(chosen: Chosen) -> dict[str, Any]:
    """Return what is kept of a selection, as plain data."""
    moments = {"since_time": chosen.selection.since_time, "until_time": chosen.selection.until_time}
    told = {name: None if moment is None else moment.isoformat() for name, moment in moments.items()}
    return {**asdict(chosen.words), "types": list(chosen.words.types), **told}


def from_json(kept: dict[str, Any]) -> Chosen:
    """Read what `as_json` wrote. Raises KeyError, TypeError or ValueError when it is something else."""
    words = Words(**{each.name: kept[each.name] for each in fields(Words)} | {"types": tuple(kept["types"])})
    since_time, until_time = (
        None if kept[name] is None else parse_time(kept[name]) for name in ("since_time", "until_time")
    )
    return _chosen(words, since_time=since_time, until_time=until_time)


def differences(kept: Words, typed: Words) -> list[str]:
    """Return, one phrase each, the options in which two selections differ."""
    before, now = asdict(kept), asdict(typed)
    return [
        f"{option} was {_shown(before[name])} and is {_shown(now[name])}"
        for name, option in OPTIONS.items()
        if before[name] != now[name]
    ]


def _chosen(words: Words, *, since_time: datetime | None, until_time: datetime | None) -> Chosen:
    selection = Selection(
        after=words.after_position,
        until_position=words.until_position,
        since_time=since_time,
        until_time=until_time,
        stream=words.stream,
        types=words.types,
        project=words.project,
    )
    return Chosen(words=words, selection=selection)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "not given"
    return "not given" if value is None else str(value)
