"""The settings of the embedded Postgres: for a machine with 2 cores that runs the services too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

HOST = "127.0.0.1"
BUFFERS_MIB_MIN, BUFFERS_MIB_MAX = 128, 1024

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory a container may take; it holds `max` where there is no limit."""

_MIB = 1024 * 1024
_FIXED = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path may have 107 bytes; a data folder's path may be longer
    "max_connections": "100",
    "synchronous_commit": "on",
    "fsync": "on",
    "jit": "off",  # our queries are short; compiling them takes longer than running them
    # Event ids are random, so between two checkpoints nearly every page of their index goes into the log once as a
    # whole: fewer checkpoints, less log. So many bytes of log lie on the disk only while events come in by the million.
    "max_wal_size": "3GB",
    "max_parallel_workers_per_gather": "0",  # needs more /dev/shm than a container has by default
    "timezone": "UTC",
    "log_checkpoints": "off",
}


def server_settings(memory_bytes: int) -> Mapping[str, str]:
    """Return the settings for a machine with so much memory.

    A quarter of it, at most 1 GiB, is for Postgres's buffers: then the indexes of five million events, whose ids are
    random, stay in memory, and the next event costs what the first one did. Postgres takes it only as data fill it.
    """
    quarter = memory_bytes // 4 // _MIB
    return {**_FIXED, "shared_buffers": f"{max(BUFFERS_MIB_MIN, min(quarter, BUFFERS_MIB_MAX))}MB"}


def memory_bytes(limit_file: Path = MEMORY_LIMIT) -> int:
    """Return how much memory this machine has, or this container may take."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int(limit_file.read_text()))
    except (OSError, ValueError):
        return total
