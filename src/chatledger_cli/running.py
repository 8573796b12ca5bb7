"""What a running `chatledger up` leaves in its data folder: a lock while it lives, up.json while it is healthy.

up.json tells the other commands where the broker and the database are; it holds a password, so it is private.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from chatledger.errors import ConfigurationError

LOCK_FILE = "up.lock"
STATE_FILE = "up.json"
POSTGRES_FOLDER = "postgres"
"""The embedded Postgres's folder within the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpState:
    """Where a running system is: `pid` is the supervisor's, `port` the HTTP port."""

    broker: str
    incarnation: str
    database: str
    pid: int
    port: int


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises ConfigurationError when another `up` or `demo` holds it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK_FILE).open("a+")
    except OSError as wrong:
        raise ConfigurationError(
            f"the data folder {data_dir} cannot be used: {wrong}; choose another with CHATLEDGER_DATA_DIR"
        ) from wrong
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise ConfigurationError(
                f"chatledger runs on {data_dir} already (process {holder}): stop it with `kill {holder}`,"
                " or choose another folder with CHATLEDGER_DATA_DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        (data_dir / STATE_FILE).unlink(missing_ok=True)  # left by one that was killed
        yield


def write_state(data_dir: Path, state: UpState) -> None:
    """Write up.json, whole or not at all."""
    partial = data_dir / f"{STATE_FILE}.partial"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file)
    partial.rename(data_dir / STATE_FILE)


def read_state(data_dir: Path) -> UpState | None:
    """Read up.json, or None where nothing runs. Raises ConfigurationError when it is damaged."""
    try:
        return UpState(**json.loads((data_dir / STATE_FILE).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as wrong:
        raise ConfigurationError(f"{data_dir / STATE_FILE} is damaged: remove it and start again") from wrong


def remove_state(data_dir: Path) -> None:
    """Remove up.json."""
    (data_dir / STATE_FILE).unlink(missing_ok=True)
