"""What the two processes say to each other: a line of JSON each, on the child's standard input and output."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson

END_OF_EVENTS = b'{"end":true}\n'
"""What follows the last event."""
PROGRESS_EVERY_S = 0.25
MARK_BYTES = 36
"""An event's id: what the child is deciding about, in memory that both see."""
NO_MARK = b" " * MARK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to do: the first line to the child.

    `projects` are names of files and their texts; those of `changed` replace others of their project's name. `since` is
    an RFC 3339 time, `mark` the descriptor of the memory that both processes see.
    """

    flows: list[str]
    projects: list[tuple[str, str]]
    changed: list[tuple[str, str]]
    since: str | None
    follow: bool
    examples: int
    personal: bool
    limit_s: float
    mark: int


class Pipe:
    """The child's end: standard input and output as they were at the start.

    Whatever other code reads there is nothing, and what it prints goes to standard error.
    """

    def __init__(self) -> None:
        self._in: IO[bytes] = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
        self._out: IO[bytes] = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        self._told_at = 0.0
        self._taken = 0

    def asked(self) -> Asked:
        """Read what to do."""
        return Asked(**orjson.loads(self._in.readline()))

    def tell(self, **said: Any) -> None:
        """Write one line."""
        line = memoryview(orjson.dumps(said) + b"\n")
        while line:
            line = line[self._out.write(line) :]

    def events(self) -> Iterator[bytes]:
        """Yield the lines up to the one that says that they are all. Raises EOFError where they end before it."""
        for line in self._in:
            if line == END_OF_EVENTS:
                return
            self._taken += 1
            yield line
            self.alive()
        raise EOFError

    def alive(self) -> None:
        """Say, from time to time, how far it has come."""
        now = time.monotonic()
        if now - self._told_at > PROGRESS_EVERY_S:
            self._told_at = now
            self.tell(taken=self._taken)
