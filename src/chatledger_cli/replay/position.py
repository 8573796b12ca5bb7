"""How far a replay has come, and the file that keeps it, so that the replay goes on after Ctrl-C or kill -9.

The file is replaced whole, never edited, and only after what it speaks of is where it belongs. It names the selection
and the target, and the id of the last event: with another ledger, another selection or another target it is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from chatledger.errors import ConfigurationError
from chatledger_cli.selection import Chosen, as_json, differences, from_json

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay has come: the last event that was handed on, and how many were, in all runs together.

    `bytes` is the length of an output file up to there.
    """

    chosen: Chosen
    target: str
    position: int
    last_id: str | None = None
    events: int = 0
    bytes: int = 0


def read_progress(path: Path) -> Progress | None:
    """Read a position file; None where there is none yet. Raises ConfigurationError where it is something else."""
    try:
        kept = orjson.loads(path.read_bytes())
        if kept["format"] != FORMAT:
            raise ConfigurationError(f"{path} was written by another chatledger: give another file with --resume")
        return progress_of(kept["selection"], **{name: kept[name] for name in _FIELDS})
    except FileNotFoundError:
        return None
    except OSError as wrong:
        raise ConfigurationError(f"the position file {path} cannot be read: {wrong.strerror}") from wrong
    except (KeyError, TypeError, ValueError) as wrong:
        raise ConfigurationError(
            f"{path} is not a replay's position file: give --resume the name of a file that may be made"
        ) from wrong


def progress_of(selection: dict[str, Any], **fields: Any) -> Progress:
    """Return the progress that was kept as plain data. Raises KeyError, TypeError or ValueError."""
    return Progress(chosen=from_json(selection), **fields)


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the position file, whole or not at all. Raises ConfigurationError where it cannot be written."""
    kept = {"format": FORMAT, "selection": as_json(progress.chosen)}
    kept |= {name: getattr(progress, name) for name in _FIELDS}
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as wrong:
        raise ConfigurationError(f"the position file {path} cannot be written: {wrong.strerror}") from wrong


def require_same(progress: Progress, chosen: Chosen, target: str, where: str) -> None:
    """Raise ConfigurationError where what `where` keeps belongs to another selection or another target."""
    if progress.target != target:
        raise ConfigurationError(
            f"{where} belongs to a replay to {progress.target}, not to {target}: give each target a file of its own"
        )
    if changed := differences(progress.chosen.words, chosen.words):
        raise ConfigurationError(
            f"{where} belongs to a replay of another selection ({'; '.join(changed)}): give the options of then,"
            " or begin another replay under another name"
        )


_FIELDS = ("target", "position", "last_id", "events", "bytes")
