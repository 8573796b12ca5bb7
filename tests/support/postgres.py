"""A Postgres for tests and benchmarks: the embedded one, in a temporary folder, with fresh databases by the dozen."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from chatledger.adapters.embedded_postgres import EmbeddedPostgres


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that Postgres's own user may walk through, where the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="chatledger-postgres-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_postgres() -> Iterator[EmbeddedPostgres]:
    """A server of its own, gone with all its data afterwards; 0.7 s to start."""
    with temporary_folder() as folder, EmbeddedPostgres(folder / "postgres") as server:
        yield server


@contextmanager
def fresh_database(server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database in that server, dropped afterwards whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(identifier))
    try:
        yield server.url.rsplit("/", 1)[0] + "/" + name
    finally:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(identifier))
