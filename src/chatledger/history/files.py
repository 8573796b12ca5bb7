"""Files and folders that are complete or not there, whatever happens while they are written.

They are made beside their place, under a hidden name with `.partial-` in it, brought to the disk, and then renamed.
What fails takes its part with it; after a `kill -9` or a power cut the hidden one stays, and may be deleted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from chatledger.errors import ConfigurationError, OutsideUnavailable


@contextlib.contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield where to write; at the end of the `with` that is the file `path`.

    Raises ConfigurationError where there is such a file already, unless `force`, or where none can be, and
    OutsideUnavailable where the disk is full.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder: name a file")
    if path.exists() and not force:
        raise ConfigurationError(f"{path} is there already: name another file, or replace it with --force")
    with _told(path):
        partial = _beside(path)
        try:
            yield partial
            _bring_to_disk(partial)
            partial.replace(path)
            _bring_to_disk(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path, *, entries: str, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write into; at the end of the `with` it is the folder `path`.

    With `force` a folder is replaced whose entries all look like `entries`, a pattern: one from an earlier time, and
    never somebody's home. Raises as `new_file` does.
    """
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"{path} is a file: name a folder")
    there = list(path.iterdir()) if path.exists() else []
    if there and not force:
        raise ConfigurationError(f"the folder {path} is not empty: name another one, or replace it with --force")
    if strangers := [each.name for each in there if not each.match(entries)]:
        raise ConfigurationError(f"{path} holds {strangers[0]!r}, which is of no export: it is not replaced")
    with _told(path):
        partial = _beside(path)
        partial.mkdir()
        try:
            yield partial
            for folder, _, files in os.walk(partial):
                for name in (*files, "."):
                    _bring_to_disk(Path(folder, name))
            _take_place(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, path: Path) -> None:
    """Rename the folder; one that has the name already is moved away first, and deleted when its successor is there."""
    if not path.exists() or not any(path.iterdir()):
        partial.replace(path)
        _bring_to_disk(path.parent)
        return
    former = _beside(path)
    path.replace(former)
    partial.replace(path)
    _bring_to_disk(path.parent)
    shutil.rmtree(former)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses, said as an error of ours."""
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as wrong:
        raise ConfigurationError(f"{path} cannot be written: {wrong.strerror or wrong}; name another place") from wrong
    except OSError as wrong:
        raise OutsideUnavailable(
            f"{path} could not be written: {wrong.strerror or wrong}; what was written so far was deleted"
        ) from wrong


def _beside(path: Path) -> Path:
    return path.absolute().with_name(f".{path.absolute().name}.partial-{secrets.token_hex(4)}")


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
