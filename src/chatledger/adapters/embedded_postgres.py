"""A Postgres 18 of our own in a local folder, for running without a database server.

Every process that needs it calls `start()` and `stop()`: the first starts the server, later ones join it,
and the last one out stops it. A server left over by a killed process is joined too, and one that was killed
itself recovers at the next start. What it acknowledged is on disk (fsync is on).

It listens on a loopback port, which it keeps between runs where that is free, and asks for a password that is
kept in the folder, so that other users of the machine stay out. The folder holds:

    cluster/       the data directory of Postgres
    postgres.log   what the server says
    password, port
    start.lock     held while somebody starts or stops it
    users.lock     held, shared, by every process that uses it
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import psutil
import psycopg
from psycopg import sql

from chatledger.adapters.embedded_postgres_process import POSTGRES_MAJOR_VERSION, PostgresPrograms
from chatledger.adapters.embedded_postgres_settings import HOST, memory_bytes, server_settings
from chatledger.errors import ConfigurationError, OutsideUnavailable

_ADMIN = "postgres"

# Recovery after a kill replays up to max_wal_size, which takes a slow disk a while.
_READY_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 30
# Backends outlive a killed postmaster for a moment, and until they are gone a new one refuses to start.
_ORPHANS_TIMEOUT_S = 15
_RETRY_PAUSE_S = 0.2


class EmbeddedPostgres:
    """The server in one folder, from `start()` to `stop()`; also a context manager."""

    def __init__(self, data_dir: Path, *, database: str = "chatledger") -> None:
        """`data_dir` is made when missing; `database` is made in the server when missing."""
        self._home = data_dir.resolve()
        self._cluster = self._home / "cluster"
        self._log_file = self._home / "postgres.log"
        self._database = database
        self._users_lock: int | None = None

    @property
    def url(self) -> str:
        """A libpq URL of the database, with its password; for this process and its children.

        Raises OutsideUnavailable before the first start.
        """
        return self._url(self._database)

    @property
    def process_id(self) -> int | None:
        """The process id of the server, or None when it does not run."""
        return process.pid if (process := self._server_process()) else None

    def start(self) -> EmbeddedPostgres:
        """Starts the server, or joins the one that runs in this folder; returns itself once it can be used.

        Takes about 1 s in a new folder and 0.2 s later. Calling it again brings back a server that died.
        Raises ConfigurationError when the machine's set-up must change first, OutsideUnavailable when the
        server does not come up.
        """
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._one_at_a_time():
                if self._users_lock is None:
                    self._users_lock = _open_lock(self._home / "users.lock")
                    fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                try:
                    self._bring_up()
                except BaseException:
                    self._leave()
                    raise
        except OSError as error:
            raise ConfigurationError(
                f"The embedded Postgres cannot use the folder {self._home}: {error}. Choose another with "
                "CHATLEDGER_DATA_DIR, or set CHATLEDGER_DATABASE to the URL of a database."
            ) from error
        return self

    def stop(self) -> None:
        """Leaves the server, and stops it when no other process uses it. Does nothing before `start()`."""
        if self._users_lock is None:
            return
        with self._one_at_a_time():
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else still uses it
            else:
                self._shut_down()
            finally:
                self._leave()

    def _bring_up(self) -> None:
        programs = PostgresPrograms(self._home)
        if not (self._cluster / "PG_VERSION").exists():
            self._create_cluster(programs)
        version = (self._cluster / "PG_VERSION").read_text().strip()
        if version != str(POSTGRES_MAJOR_VERSION):
            raise ConfigurationError(
                f"{self._home} was made by Postgres {version}, this is {POSTGRES_MAJOR_VERSION}. Move it "
                "away, or dump it with the version that made it and load it into this one."
            )
        ready_by = time.monotonic() + _READY_TIMEOUT_S
        while True:
            if self._server_process() is None:
                self._launch(programs)
            try:
                return self._ensure_database()
            except psycopg.Error as error:
                # A server left over by a killed process may still be recovering, or be on its way down.
                if not isinstance(error, psycopg.OperationalError) or time.monotonic() > ready_by:
                    raise OutsideUnavailable(
                        f"The embedded Postgres in {self._home} does not take connections: {error}"
                    ) from error
                time.sleep(_RETRY_PAUSE_S)

    def _create_cluster(self, programs: PostgresPrograms) -> None:
        """Builds the cluster beside its place and moves it there whole: a kill half-way does no harm."""
        password_file = self._home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(24))
        programs.give(password_file)
        partial = self._home / "cluster.partial"
        shutil.rmtree(partial, ignore_errors=True)
        result = programs.run(
            "initdb",
            [
                f"--pgdata={partial}",
                f"--username={_ADMIN}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # Sorts the same on every machine, whatever locales it has.
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
            ],
            timeout_s=_READY_TIMEOUT_S,
        )
        if result.returncode != 0:
            raise ConfigurationError(f"The embedded Postgres could not be set up: {result.stderr.strip()}")
        partial.rename(self._cluster)

    def _launch(self, programs: PostgresPrograms) -> None:
        orphans_gone_by = time.monotonic() + _ORPHANS_TIMEOUT_S
        self._forget_reused_process_id()
        while True:
            port = self._choose_port()
            options = {**server_settings(memory_bytes()), "port": str(port)}
            log_start = self._log_file.stat().st_size if self._log_file.exists() else 0
            result = programs.run(
                "pg_ctl",
                [
                    "start",
                    f"--pgdata={self._cluster}",
                    f"--log={self._log_file}",
                    f"--timeout={_READY_TIMEOUT_S}",
                    "--options=" + shlex.join(f"--{name}={value}" for name, value in options.items()),
                ],
                timeout_s=_READY_TIMEOUT_S + 10,
            )
            if result.returncode == 0:
                return
            said = self._log_file.read_bytes()[log_start:].decode(errors="replace").strip()
            if "could not bind" in said:
                (self._home / "port").unlink(missing_ok=True)  # somebody took it since; choose another
            elif "pre-existing shared memory block" not in said:
                raise OutsideUnavailable(
                    f"The embedded Postgres did not start. It said: {said[-2000:] or result.stderr.strip()}"
                )
            if time.monotonic() > orphans_gone_by:
                raise OutsideUnavailable(
                    f"The embedded Postgres did not start in {_ORPHANS_TIMEOUT_S} s: processes of an earlier "
                    f"one still hold {self._cluster}, or no port is free. End them and start again."
                )
            time.sleep(_RETRY_PAUSE_S)

    def _ensure_database(self) -> None:
        with psycopg.connect(self._url(_ADMIN), autocommit=True, connect_timeout=10) as connection:
            query = "select 1 from pg_database where datname = %s"
            if connection.execute(query, [self._database]).fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self._database)))

    def _shut_down(self) -> None:
        if self._server_process() is None:
            return
        programs = PostgresPrograms(self._home)
        for mode in ("fast", "immediate"):
            arguments = ["stop", f"--pgdata={self._cluster}", f"--mode={mode}", f"--timeout={_STOP_TIMEOUT_S}"]
            if programs.run("pg_ctl", arguments, timeout_s=_STOP_TIMEOUT_S + 10).returncode == 0:
                return
        raise OutsideUnavailable(f"The embedded Postgres does not stop; see {self._log_file}.")

    def _server_process(self) -> psutil.Process | None:
        """The server that runs in this folder, if any.

        The process id in its file may by now be another program's, so the command line decides.
        """
        try:
            process = psutil.Process(self._recorded_process_id() or 0)
            return process if str(self._cluster) in " ".join(process.cmdline()) else None
        except psutil.Error:
            return None

    def _recorded_process_id(self) -> int | None:
        try:
            return int((self._cluster / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def _forget_reused_process_id(self) -> None:
        """Removes the server's file when its process id is alive as another program.

        That happens in a restarted container, and Postgres would refuse to start. Otherwise the file stays: by
        it Postgres sees whether orphans of a killed server still hold the data.
        """
        recorded = self._recorded_process_id()
        if recorded is not None and psutil.pid_exists(recorded):
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _choose_port(self) -> int:
        """The port of the last run, so that URLs in other processes stay right, or else a free one."""
        port_file = self._home / "port"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, int(port_file.read_text())))
            except (OSError, ValueError):
                probe.bind((HOST, 0))
            chosen: int = probe.getsockname()[1]
        port_file.write_text(str(chosen))
        return chosen

    def _url(self, database: str) -> str:
        try:
            password = (self._home / "password").read_text()
            port = (self._home / "port").read_text()
        except OSError as error:
            raise OutsideUnavailable(f"The embedded Postgres in {self._home} was never started.") from error
        return f"postgresql://{_ADMIN}:{password}@{HOST}:{port}/{database}"

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        lock = _open_lock(self._home / "start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _leave(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
