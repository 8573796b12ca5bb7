"""The program that runs changed flow code over history: a process of its own, without credentials or connections.

It reads what is asked for, then events as `chatledger.replay.event_line` writes them; it answers with how far it has
come, with the conversations that it wants to see once more as examples, and with the report. Nothing of `chatledger`
that decides is imported before the changed code is laid over it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from mmap import mmap
from pathlib import Path
from typing import Any

from chatledger.errors import ChatledgerError
from chatledger_cli.what_if.guard import close_the_outside, place_of
from chatledger_cli.what_if.overlay import changed_modules, install, register_flows
from chatledger_cli.what_if.pipe import Asked, Pipe

WHERE_ARE_YOU = signal.SIGUSR1
"""Answered on standard error with what is running, even by code that never comes back."""


class Refused(Exception):
    """The changed code cannot be used. The message says what and where."""


def main() -> None:
    """Do what is asked for, and say why where it cannot be done."""
    # Ctrl-C is for whoever started this process, who ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(WHERE_ARE_YOU)
    sys.dont_write_bytecode = True
    pipe = Pipe()
    asked = pipe.asked()
    with mmap(asked.mark, 0) as mark:
        try:
            pipe.tell(report=_report(pipe, asked, mark))
        except EOFError:
            sys.exit(1)
        except (Refused, ChatledgerError) as refused:
            pipe.tell(refused=str(refused))


def _report(pipe: Pipe, asked: Asked, mark: mmap) -> dict[str, Any]:
    files = changed_modules(Path(each) for each in asked.flows)
    install(files)
    close_the_outside()
    with _told(files, "the changed code cannot be imported"):
        flows = register_flows(files)
        passes = import_module("chatledger_cli.what_if.passes")
    with _told(files, "the changed code cannot go on"):
        report: dict[str, Any] = passes.compare(pipe, asked, files, flows, mark)
        return report


@contextlib.contextmanager
def _told(files: Mapping[str, Path], what: str) -> Iterator[None]:
    """Turn what the changed code raises outside of a decision into one sentence with its file and line."""
    try:
        yield
    except (EOFError, ChatledgerError):
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}, at {place_of(error, map(str, files.values()))}"
        raise Refused(f"{what}: {said}") from error


if __name__ == "__main__":
    main()
