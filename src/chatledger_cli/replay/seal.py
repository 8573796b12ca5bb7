"""The seal on a replay: while it is on, this process has no credentials and reaches nothing that it was not given.

Two locks, on before the ledger's first row is read. The environment keeps what the database's own client and a
terminal need, and nothing else, so no token of a channel is there to be read. And Python's audit hook sees every
connection that Python code opens, by whatever library, and every process that it starts: what is not one of the doors
is refused, and the replay fails even where somebody caught the refusal. Postgres's client is C and passes below the
hook; it connects to the ledger's URL, and to the table's where one was named.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from chatledger.errors import InvariantViolated

Door = tuple[str, int]
"""A host, by name or address, and a port."""

NEEDED_VARIABLES = re.compile(
    r"PG[A-Z]+|KRB5\w+|SSL_CERT_\w+|PATH|HOME|USER|LOGNAME|TMPDIR|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLUMNS|LINES"
    r"|NO_COLOR|FORCE_COLOR|COLORTERM"
)
"""What libpq, a terminal and a time zone take. Tokens, secrets and the URLs of providers are not among them."""

CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
STARTING = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
"""Python's names of these audit events."""


class Seal:
    """Knows the doors, and what was tried beside them."""

    def __init__(self, doors: Iterable[Door] = ()) -> None:
        self._doors = set(doors)
        self._addresses = _resolved(self._doors)
        self.refused: list[str] = []
        """What was tried and refused, in words."""

    def open(self, doors: Iterable[Door]) -> None:
        """Let connections to these through as well: a broker tells its other nodes."""
        self._doors |= set(doors)
        self._addresses = _resolved(self._doors)

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at one audit event. Raises InvariantViolated where it is not to be."""
        if event in CONNECTING:
            # Without an address it is a socket that is connected already.
            if arguments[1] is not None and not self._is_door(arguments[1]):
                self._refuse(f"a connection to {arguments[1]}")
        elif event in STARTING:
            self._refuse(f"a process ({event})")

    def _is_door(self, address: Any) -> bool:
        if not isinstance(address, tuple) or len(address) < 2:
            return False
        wanted = (address[0], address[1])
        if wanted in self._doors or wanted in self._addresses:
            return True
        # A node that was started anew may have another address under its name.
        self._addresses = _resolved(self._doors)
        return wanted in self._addresses

    def _refuse(self, what: str) -> None:
        self.refused.append(what)
        raise InvariantViolated(f"replay can never send, and so {what} is refused")


@contextlib.contextmanager
def sealed(doors: Iterable[Door] = ()) -> Iterator[Seal]:
    """Keep this process sealed for the time of a `with`.

    Raises InvariantViolated at its end where something was refused meanwhile and nobody said so.
    """
    seal = Seal(doors)
    if not _HOOKED:
        # A hook stays as long as the process; without a seal it lets everything pass.
        sys.addaudithook(_look)
        _HOOKED.append(True)
    _SEALS.append(seal)
    try:
        yield seal
    except Exception as wrong:
        # What looks like a broker that is away may be a connection that was refused.
        raise _violated(seal) or wrong from wrong
    finally:
        _SEALS.remove(seal)
    if violated := _violated(seal):
        raise violated


@contextlib.contextmanager
def bare_environment() -> Iterator[None]:
    """Take every variable that a replay does not need out of the environment, for the time of a `with`."""
    taken = {name: value for name, value in os.environ.items() if not NEEDED_VARIABLES.fullmatch(name)}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


def _violated(seal: Seal) -> InvariantViolated | None:
    tried = "; ".join(dict.fromkeys(seal.refused))
    return InvariantViolated(f"replay can never send, but something tried: {tried}") if tried else None


_SEALS: list[Seal] = []
_HOOKED: list[bool] = []


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if _SEALS and (event in CONNECTING or event in STARTING):
        for seal in _SEALS:
            seal.check(event, arguments)


def _resolved(doors: Iterable[Door]) -> set[Door]:
    """The addresses behind names; a name that has none now may have one later."""
    found: set[Door] = set()
    for host, port in doors:
        with contextlib.suppress(OSError):
            found |= {(str(at[0]), int(at[1])) for *_, at in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return found
